#include "bilstm_plan.h"

#include <algorithm>

#include "bilstm.h"

namespace elmo_fast {
namespace {

// Rows that walk together. More would save nothing, and memory for a step's input product grows with them.
constexpr size_t kGroupRows = 512;

constexpr int64_t kInputRows = 256;   // rows of a chunk's product
constexpr int64_t kSharedRows = 512;  // the same where rows are shared: the more, the more tokens share one

}  // namespace

BatchPlan::BatchPlan(const int64_t* batch_lengths, std::vector<int64_t> sorted_rows, int64_t before)
    : rows(std::move(sorted_rows)), tokens_before(before) {
  for (int64_t b : rows) lengths.push_back(batch_lengths[b]);
  offset.push_back(0);
  int64_t active_rows = n();
  for (int64_t s = 0; active_rows > 0; ++s) {
    while (active_rows > 0 && lengths[static_cast<size_t>(active_rows - 1)] <= s) --active_rows;
    if (active_rows == 0) break;
    active.push_back(active_rows);
    offset.push_back(offset.back() + active_rows);
  }
}

std::vector<BatchPlan> plan_batch(const int64_t* lengths, int64_t batch_size) {
  std::vector<int64_t> rows;
  for (int64_t b = 0; b < batch_size; ++b)
    if (lengths[b] > 0) rows.push_back(b);
  std::stable_sort(rows.begin(), rows.end(), [&](int64_t a, int64_t b) { return lengths[a] > lengths[b]; });
  std::vector<BatchPlan> plans;
  for (size_t i = 0; i < rows.size(); i += kGroupRows) {
    const auto begin = rows.begin() + static_cast<ptrdiff_t>(i);
    const auto end = begin + static_cast<ptrdiff_t>(std::min(kGroupRows, rows.size() - i));
    const int64_t before = plans.empty() ? 0 : plans.back().tokens_before + plans.back().tokens();
    plans.emplace_back(lengths, std::vector<int64_t>(begin, end), before);
  }
  return plans;
}

InputChunks::InputChunks(const BatchPlan& plan) {
  for (int64_t first = 0; first < plan.steps();) {
    int64_t last = first + 1;
    while (last < plan.steps() && plan.offset_at(last + 1) - plan.offset_at(first) <= kInputRows) ++last;
    chunks.push_back({first, last, 0, plan.offset_at(last) - plan.offset_at(first)});
    first = last;
  }
}

InputChunks::InputChunks(const BatchPlan& plan, const BiLstmCall& call, int direction) {
  slots.resize(static_cast<size_t>(plan.tokens()));
  std::vector<int32_t> seen;  // by row of x: its place in `sources`, if in this chunk
  const auto source_of = [&](int64_t r, int64_t step) {
    return call.index[plan.rows[static_cast<size_t>(r)] * call.num_timesteps + plan.time(r, step, direction)];
  };
  const auto place_in = [&](const Chunk& chunk, int32_t source) -> int32_t& {
    if (static_cast<size_t>(source) >= seen.size()) seen.resize(static_cast<size_t>(source) + 1, -1);
    int32_t& place = seen[static_cast<size_t>(source)];
    if (place < chunk.first_row) place = -1;
    return place;
  };
  for (int64_t step = 0; step < plan.steps(); ++step) {
    const auto before = static_cast<int64_t>(sources.size());
    if (chunks.empty()) chunks.push_back({0, 0, 0, 0});
    // Filled tentatively; a step that makes the chunk too large starts the next one instead.
    for (bool again = true; again;) {
      Chunk& chunk = chunks.back();
      for (int64_t r = 0; r < plan.active_at(step); ++r) {
        const int32_t source = source_of(r, step);
        int32_t& place = place_in(chunk, source);
        if (place < 0) {
          place = static_cast<int32_t>(sources.size());
          sources.push_back(source);
        }
        slots[static_cast<size_t>(plan.offset_at(step) + r)] = place - static_cast<int32_t>(chunk.first_row);
      }
      again = static_cast<int64_t>(sources.size()) - chunk.first_row > kSharedRows && step > chunk.first;
      if (again) {
        for (size_t i = static_cast<size_t>(before); i < sources.size(); ++i)
          seen[static_cast<size_t>(sources[i])] = -1;
        sources.resize(static_cast<size_t>(before));
        chunks.push_back({step, step, before, 0});
      }
    }
    chunks.back().last = step + 1;
    chunks.back().n_rows = static_cast<int64_t>(sources.size()) - chunks.back().first_row;
  }
}

}  // namespace elmo_fast
