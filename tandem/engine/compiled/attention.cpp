// Attention of a whole pass in one layer, on a CPU: new keys and values into the KV pool, then all rows over it.
//
// The plan is one tensor of int64, as `numbered_plan.py` beside this file lays it out. Rows of few tokens, which is
// what rounds are made of, read the pool where it lies; longer ones, pieces of prompts, go through torch's own kernel.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include "lanes.h"

namespace {

using namespace tandem;

constexpr int64_t kHeader = 2;         // numbers before the rows: how many rows, slots of a block
constexpr int64_t kRow = 7;            // numbers of a row
constexpr int64_t kWordBits = 64;      // nodes that one number marks
constexpr int64_t kMostQueries = 128;  // of a row that is attended here, heads that share a KV head counted each
constexpr float kUnseen = -std::numeric_limits<float>::infinity();

// One row: tokens `first` to `stop` of the batch are the last nodes of a tree behind `length` settled positions.
struct Row {
  int64_t first, stop, length, num_nodes;
  const int64_t* blocks;  // of the pool, by position
  const int64_t* depths;  // of the nodes; none for a chain, whose depths count up
  const int64_t* seen;    // by new token, words that mark its ancestors and itself; none for a chain
  int64_t block_size;

  int64_t num_new() const { return stop - first; }
  int64_t num_words() const { return (num_nodes + kWordBits - 1) / kWordBits; }
  int64_t first_new() const { return num_nodes - num_new(); }
  int64_t slot(int64_t at) const { return blocks[at / block_size] * block_size + at % block_size; }
  int64_t position(int64_t node) const { return length + (depths ? depths[node] : node); }
  // The first place that any new token sees, with `window` positions in view; 0: all of them.
  int64_t first_seen(int64_t window) const {
    if (window == 0) return 0;
    int64_t least = position(first_new());
    for (int64_t node = first_new(); node < num_nodes; ++node) least = std::min(least, position(node));
    return std::clamp<int64_t>(least - window + 1, 0, length);
  }
  bool sees(int64_t token, int64_t at, int64_t window) const {
    const int64_t own = first_new() + token, node = at - length;
    if (window != 0 && (node < 0 ? at : position(node)) <= position(own) - window) return false;
    if (node < 0) return true;
    if (!seen) return node <= own;
    return (seen[token * num_words() + node / kWordBits] >> (node % kWordBits)) & 1;
  }
};

std::vector<Row> rows_of(const at::Tensor& plan) {
  const int64_t* numbers = plan.const_data_ptr<int64_t>();
  std::vector<Row> rows(numbers[0]);
  for (size_t index = 0; index < rows.size(); ++index) {
    const int64_t* row = numbers + kHeader + index * kRow;
    rows[index] = {row[0], row[1], row[2], row[3], numbers + row[4], row[5] ? numbers + row[5] : nullptr,
                   row[6] ? numbers + row[6] : nullptr, numbers[1]};
  }
  return rows;
}

// Where one layer's tensors lie. Strides count elements; the last dimension of each is dense.
template <typename T>
struct Layer {
  const T* query;  // [heads, tokens, dim]
  int64_t query_head, query_token;
  const T* keys;    // [slots, kv_heads, dim]
  const T* values;  // as the keys
  int64_t slot, kv_head;
  T* output;  // [tokens, heads, dim]
  int64_t num_heads, num_kv_heads, dim;
  float scaling;
  int64_t window;
};

constexpr int64_t kTogether = 4;  // queries that share what was loaded of the context

// Scores of `num` queries with 16 places. `queries` [num, dim], `tile` [dim] holds a coordinate of all places each.
template <int64_t num>
void score(const float* queries, const Lanes* tile, int64_t dim, float* scores, int64_t stride) {
  Lanes sums[num] = {};
  for (int64_t d = 0; d < dim; ++d) {
    for (int64_t q = 0; q < num; ++q) sums[q] += queries[q * dim + d] * tile[d];
  }
  for (int64_t q = 0; q < num; ++q) store(scores + q * stride, sums[q]);
}

// Adds weighted values of `places` to `num` queries' sums. `tile` [places, dim], `sums` [num, dim].
template <int64_t num>
void weigh(const float* weights, int64_t stride, const Lanes* tile, int64_t places, int64_t num_lanes, Lanes* sums) {
  for (int64_t lane = 0; lane < num_lanes; lane += 2) {
    Lanes own[num][2];
    for (int64_t q = 0; q < num; ++q) {
      for (int64_t i = 0; i < 2; ++i) own[q][i] = sums[q * num_lanes + lane + i];
    }
    for (int64_t p = 0; p < places; ++p) {
      for (int64_t q = 0; q < num; ++q) {
        for (int64_t i = 0; i < 2; ++i) own[q][i] += weights[q * stride + p] * tile[p * num_lanes + lane + i];
      }
    }
    for (int64_t q = 0; q < num; ++q) {
      for (int64_t i = 0; i < 2; ++i) sums[q * num_lanes + lane + i] = own[q][i];
    }
  }
}

// What one thread computes a row with.
struct Scratch {
  std::vector<Lanes> lanes;
  std::vector<float> floats;
  std::vector<int64_t> slots;
};

// One row's queries of one KV head. Each place of the context is read once, whatever the number of queries.
template <typename T>
void attend(const Layer<T>& layer, const Row& row, int64_t kv_head, Scratch& scratch) {
  const int64_t dim = layer.dim, num_lanes = (dim + 2 * kLanes - 1) / (2 * kLanes) * 2;
  const int64_t groups = layer.num_heads / layer.num_kv_heads, count = row.num_new() * groups;
  const int64_t begin = row.first_seen(layer.window), end = row.length + row.num_nodes, places = end - begin;
  const int64_t width = (places + kLanes - 1) / kLanes * kLanes;
  scratch.floats.resize(count * (dim + width));
  scratch.lanes.assign(count * num_lanes + std::max(dim, kLanes * num_lanes), Lanes{});
  float* queries = scratch.floats.data();                  // [count, dim]
  float* weights = queries + count * dim;                  // [count, width]
  Lanes* sums = scratch.lanes.data();                      // [count, num_lanes]
  Lanes* tile = sums + count * num_lanes;  // keys [dim], a lane for each place; values [places, num_lanes]
  scratch.slots.resize(places);
  for (int64_t at = begin; at < end; ++at) scratch.slots[at - begin] = row.slot(at);
  const int64_t* slots = scratch.slots.data() - begin;
  for (int64_t q = 0; q < count; ++q) {
    const T* from = layer.query + (kv_head * groups + q % groups) * layer.query_head +
                    (row.first + q / groups) * layer.query_token;
    for (int64_t d = 0; d < dim; ++d) queries[q * dim + d] = static_cast<float>(from[d]) * layer.scaling;
  }
  for (int64_t start = begin; start < end; start += kLanes) {
    for (int64_t at = start; at < std::min(start + kLanes, end); ++at) {
      const T* key = layer.keys + slots[at] * layer.slot + kv_head * layer.kv_head;
      float* lane = reinterpret_cast<float*>(tile) + at - start;
      for (int64_t d = 0; d < dim; ++d) lane[d * kLanes] = static_cast<float>(key[d]);
    }
    float* scores = weights + start - begin;
    int64_t q = 0;
    for (; q + kTogether <= count; q += kTogether) {
      score<kTogether>(queries + q * dim, tile, dim, scores + q * width, width);
    }
    for (; q < count; ++q) score<1>(queries + q * dim, tile, dim, scores + q * width, width);
  }
  // Settled positions are seen by all unless a window leaves them behind.
  for (int64_t at = layer.window ? begin : row.length; at < end; ++at) {
    for (int64_t token = 0; token < row.num_new(); ++token) {
      if (row.sees(token, at, layer.window)) continue;
      for (int64_t q = token * groups; q < (token + 1) * groups; ++q) weights[q * width + at - begin] = kUnseen;
    }
  }
  for (int64_t q = 0; q < count; ++q) {
    float* weight = weights + q * width;
    std::fill(weight + places, weight + width, kUnseen);
    Lanes highest = load(weight), norm = {};
    for (int64_t p = kLanes; p < width; p += kLanes) {
      const Lanes other = load(weight + p);
      highest = other > highest ? other : highest;
    }
    float most = highest[0];
    for (int64_t lane = 1; lane < kLanes; ++lane) most = std::max(most, highest[lane]);
    for (int64_t p = 0; p < width; p += kLanes) {
      const Lanes own = exp_of(load(weight + p) - most);
      norm += own;
      store(weight + p, own);
    }
    float sum = 0;
    for (int64_t lane = 0; lane < kLanes; ++lane) sum += norm[lane];
    for (int64_t p = 0; p < width; p += kLanes) store(weight + p, load(weight + p) / sum);
  }
  std::fill_n(tile, kLanes * num_lanes, Lanes{});
  for (int64_t start = begin; start < end; start += kLanes) {
    const int64_t stop = std::min(start + kLanes, end);
    for (int64_t at = start; at < stop; ++at) {
      const T* value = layer.values + slots[at] * layer.slot + kv_head * layer.kv_head;
      float* place = reinterpret_cast<float*>(tile + (at - start) * num_lanes);
      for (int64_t d = 0; d < dim; ++d) place[d] = static_cast<float>(value[d]);
    }
    const float* weight = weights + start - begin;
    int64_t q = 0;
    for (; q + kTogether <= count; q += kTogether) {
      weigh<kTogether>(weight + q * width, width, tile, stop - start, num_lanes, sums + q * num_lanes);
    }
    for (; q < count; ++q) weigh<1>(weight + q * width, width, tile, stop - start, num_lanes, sums + q * num_lanes);
  }
  for (int64_t q = 0; q < count; ++q) {
    const float* from = reinterpret_cast<const float*>(sums + q * num_lanes);
    T* to = layer.output + ((row.first + q / groups) * layer.num_heads + kv_head * groups + q % groups) * dim;
    for (int64_t d = 0; d < dim; ++d) to[d] = static_cast<T>(from[d]);
  }
}

template <typename T>
void attend_short(const Layer<T>& layer, const std::vector<Row>& rows) {
  const int64_t groups = layer.num_heads / layer.num_kv_heads;
  at::parallel_for(0, rows.size() * layer.num_kv_heads, 1, [&](int64_t first, int64_t stop) {
    Scratch scratch;
    for (int64_t index = first; index < stop; ++index) {
      const Row& row = rows[index / layer.num_kv_heads];
      if (row.num_new() * groups > kMostQueries) continue;
      const int64_t kv_head = index % layer.num_kv_heads;
      attend(layer, row, kv_head, scratch);
    }
  });
}

// A long row by torch's own kernel. `query` [1, heads, n, dim], `keys`, `values` [slots, kv_heads, dim].
// Returns [1, heads, n, dim].
at::Tensor attend_long(const at::Tensor& query, const at::Tensor& keys, const at::Tensor& values, const Row& row,
                       double scaling, int64_t window) {
  const int64_t begin = row.first_seen(window), end = row.length + row.num_nodes;
  const at::Tensor slots = at::empty({end - begin}, at::kLong);
  for (int64_t at = begin; at < end; ++at) slots.mutable_data_ptr<int64_t>()[at - begin] = row.slot(at);
  const at::Tensor own_keys = keys.index_select(0, slots).transpose(0, 1).unsqueeze(0);
  const at::Tensor own_values = values.index_select(0, slots).transpose(0, 1).unsqueeze(0);
  const bool is_prompt = row.length == 0 && row.num_nodes == row.num_new() && !row.seen && window == 0;
  at::Tensor mask;
  if (!is_prompt) {
    mask = at::empty({row.num_new(), end - begin}, at::kBool);
    bool* sees = mask.mutable_data_ptr<bool>();
    for (int64_t token = 0; token < row.num_new(); ++token) {
      for (int64_t at = begin; at < end; ++at) *sees++ = row.sees(token, at, window);
    }
  }
  return at::scaled_dot_product_attention(query, own_keys, own_values,
                                          is_prompt ? std::nullopt : std::optional<at::Tensor>(mask), 0.0, is_prompt,
                                          scaling, /*enable_gqa=*/true);
}

// New keys or values, [1, kv_heads, tokens, dim], into their slots, [slots, kv_heads, dim].
template <typename T>
void write(const at::Tensor& from, T* to, const Layer<T>& layer, const std::vector<Row>& rows) {
  const T* source = from.const_data_ptr<T>();
  for (const Row& row : rows) {
    for (int64_t token = row.first; token < row.stop; ++token) {
      T* slot = to + row.slot(row.length + row.first_new() + token - row.first) * layer.slot;
      for (int64_t head = 0; head < layer.num_kv_heads; ++head) {
        std::copy_n(source + head * from.stride(1) + token * from.stride(2), layer.dim, slot + head * layer.kv_head);
      }
    }
  }
}

at::Tensor dense_rows(const at::Tensor& tensor) { return tensor.stride(-1) == 1 ? tensor : tensor.contiguous(); }

// `pool` [layers, 2, slots, kv_heads, dim], dense, is written to; `query` [1, heads, tokens, dim], `key`, `value`
// [1, kv_heads, tokens, dim]; `window` 0 is none. Returns [1, tokens, heads, dim]; tokens of no row are zero.
at::Tensor attend_paged(const at::Tensor& pool, const at::Tensor& query, const at::Tensor& key,
                        const at::Tensor& value, const at::Tensor& plan, int64_t layer_index, double scaling,
                        int64_t window) {
  const int64_t num_heads = query.size(1), num_tokens = query.size(2), dim = query.size(3);
  const int64_t groups = num_heads / pool.size(3);
  const at::Tensor queries = dense_rows(query);
  const at::Tensor output = at::empty({1, num_tokens, num_heads, dim}, query.options());
  const std::vector<Row> rows = rows_of(plan);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, query.scalar_type(), "attend_paged", [&] {
    scalar_t* keys = pool.mutable_data_ptr<scalar_t>() + layer_index * pool.stride(0);
    scalar_t* values = keys + pool.stride(1);
    scalar_t* attended = output.mutable_data_ptr<scalar_t>();
    const Layer<scalar_t> layer{queries.const_data_ptr<scalar_t>(), queries.stride(1), queries.stride(2), keys, values,
                                pool.stride(2), pool.stride(3), attended, num_heads, pool.size(3), dim,
                                static_cast<float>(scaling), window};
    write(dense_rows(key), keys, layer, rows);
    write(dense_rows(value), values, layer, rows);
    attend_short(layer, rows);
    const int64_t end = rows.back().stop * num_heads * dim;
    std::fill(attended + end, attended + output.numel(), scalar_t(0));
  });
  for (const Row& row : rows) {
    if (row.num_new() * groups > kMostQueries) {
      const at::Tensor keys = pool.select(0, layer_index);
      const at::Tensor attended = attend_long(queries.slice(2, row.first, row.stop), keys.select(0, 0),
                                              keys.select(0, 1), row, scaling, window);
      output.slice(1, row.first, row.stop).copy_(attended.transpose(1, 2));
    }
  }
  return output;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(tandem, library) {
  library.def(
      "attend_paged(Tensor(a!) pool, Tensor query, Tensor key, Tensor value, Tensor plan, int layer, float scaling, "
      "int window) -> Tensor");
  library.impl("attend_paged", c10::DispatchKey::CPU, &attend_paged);
}
