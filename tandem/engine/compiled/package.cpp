// A compiled pass, called without Python's lock: torch's own binding holds it for as long as the pass takes.

#include <ATen/cpu/Utils.h>
#include <torch/csrc/inductor/aoti_runner/model_container_runner_cpu.h>
#include <torch/custom_class.h>

#include <string>
#include <utility>
#include <vector>

namespace {

// For one thread at a time.
class Package : public torch::CustomClassHolder {
 public:
  explicit Package(const std::string& path) : runner_(path, /*num_models=*/1, /*run_single_threaded=*/true) {
    // A process has to ask for the processor's tiles, and what the compiler wrote does not; false where there are none.
    at::cpu::init_amx();
  }

  at::Tensor run(std::vector<at::Tensor> inputs) { return runner_.boxed_run(std::move(inputs)).at(0); }

 private:
  torch::inductor::AOTIModelContainerRunnerCpu runner_;
};

}  // namespace

TORCH_LIBRARY_FRAGMENT(tandem, library) {
  library.class_<Package>("Package").def(torch::init<std::string>()).def("run", &Package::run);
}
