// The highest logits of each row, in one reading of them: what `tandem.engine.readout.highest` does in several.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "lanes.h"

namespace {

using namespace tandem;

constexpr int64_t kLeastOfThread = 1 << 16;  // logits for which a thread is worth waking
constexpr int64_t kSummed = 1024;  // numbers of a sum in single precision
constexpr float kNone = -std::numeric_limits<float>::infinity();

// `count` numbers as floats; behind them, up to a whole number of lanes, what counts for nothing.
template <typename T>
void widen(const T* from, int64_t count, std::vector<float>& to) {
  for (int64_t i = 0; i < count; ++i) to[i] = static_cast<float>(from[i]);
  std::fill(to.begin() + count, to.end(), kNone);
}

// The logarithm of the sum of the exponentials; not finite where one of them is not a number, or none is finite.
double log_sum_exp(const std::vector<float>& row) {
  const int64_t size = static_cast<int64_t>(row.size());
  Lanes most = load(row.data()), strange = {};
  for (int64_t i = 0; i < size; i += kLanes) {
    const Lanes lanes = load(&row[i]);
    most = lanes > most ? lanes : most;
    strange = lanes == lanes ? strange : lanes;
  }
  float highest = kNone;
  for (int64_t i = 0; i < kLanes; ++i) {
    if (strange[i] != 0) return std::numeric_limits<double>::quiet_NaN();
    highest = std::max(highest, most[i]);
  }
  if (!std::isfinite(highest)) return highest;
  double sum = 0;
  for (int64_t begin = 0; begin < size; begin += kSummed) {
    Lanes sums = {};
    for (int64_t i = begin; i < std::min(size, begin + kSummed); i += kLanes) sums += exp_of(load(&row[i]) - highest);
    for (int64_t i = 0; i < kLanes; ++i) sum += sums[i];
  }
  return highest + std::log(sum);
}

// The `width` highest of `count` numbers, falling, equal ones by rising index: into `values` and `indices`.
void keep_highest(const std::vector<float>& row, int64_t count, int64_t width, double* values, double* indices) {
  std::fill(values, values + width, static_cast<double>(kNone));
  int64_t found = 0;
  const auto insert = [&](float value, int64_t index) {
    int64_t at = found < width ? found++ : width - 1;
    for (; at > 0 && values[at - 1] < value; --at) {
      values[at] = values[at - 1];
      indices[at] = indices[at - 1];
    }
    values[at] = value;
    indices[at] = index;
  };
  int64_t index = 0;
  for (; index < width; ++index) insert(row[index], index);
  for (; index < count && index % kLanes != 0; ++index) {
    if (row[index] > values[width - 1]) insert(row[index], index);
  }
  for (; index < count; index += kLanes) {
    const auto above = load(&row[index]) > static_cast<float>(values[width - 1]);
    bool any = false;
    for (int64_t i = 0; i < kLanes; ++i) any |= above[i] != 0;
    if (!any) continue;
    for (int64_t i = 0; i < kLanes; ++i) {
      if (row[index + i] > values[width - 1]) insert(row[index + i], index + i);
    }
  }
}

// `ranked` [rows, vocab], of any floating type, dense: what is chosen from. `logits` as `ranked`, maybe the same: what
// is normalised. Returns [rows, 2 * width + 1], float64: the highest, falling, their indices, the normaliser.
at::Tensor highest(const at::Tensor& ranked, const at::Tensor& logits, int64_t width) {
  const int64_t num_rows = ranked.size(0), count = ranked.size(1);
  TORCH_CHECK(1 <= width && width <= count, "a width of ", width, " of ", count);
  const at::Tensor from = ranked.contiguous(), normalised = logits.contiguous();
  const at::Tensor output = at::empty({num_rows, 2 * width + 1}, ranked.options().dtype(at::kDouble));
  const auto widened = [&](const at::Tensor& tensor, int64_t index, std::vector<float>& row) {
    AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, tensor.scalar_type(), "highest", [&] {
      widen(tensor.const_data_ptr<scalar_t>() + index * count, count, row);
    });
  };
  at::parallel_for(0, num_rows, std::max<int64_t>(1, kLeastOfThread / count), [&](int64_t first, int64_t stop) {
    std::vector<float> row((count + kLanes - 1) / kLanes * kLanes);
    for (int64_t index = first; index < stop; ++index) {
      double* const values = output.mutable_data_ptr<double>() + index * (2 * width + 1);
      widened(from, index, row);
      keep_highest(row, count, width, values, values + width);
      if (!from.is_same(normalised)) widened(normalised, index, row);
      values[2 * width] = log_sum_exp(row);
    }
  });
  return output;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(tandem, library) {
  library.def("highest(Tensor ranked, Tensor logits, int width) -> Tensor");
  library.impl("highest", c10::DispatchKey::CPU, &highest);
}
