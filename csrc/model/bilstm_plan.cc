#include "model/bilstm_plan.h"

#include <algorithm>

#include "model/bilstm.h"

namespace elmo_fast {
namespace {

// Rows per plan. More would save nothing, and the memory for a step's input product grows with their number.
constexpr size_t kGroupRows = 512;

constexpr int64_t kInputRows = 256;   // rows of a chunk's product when each token has its own
constexpr int64_t kSharedRows = 512;  // the same when tokens share rows: the larger, the more tokens share a row

struct Lane {
  std::vector<int64_t> rows;
  int64_t length;  // of all its rows together
};

// First fit, longest row first: a row joins a lane if together they are no longer than the longest row. Returns the
// longest lane first.
std::vector<Lane> fill_lanes(const int64_t* lengths, const std::vector<int64_t>& rows, bool end_to_end) {
  std::vector<Lane> lanes;
  size_t full = 0;  // this many lanes, counted from the first, have no room left
  for (int64_t row : rows) {
    const auto fits = [&](const Lane& lane) { return lane.length + lengths[row] <= lengths[rows[0]]; };
    while (full < lanes.size() && (!end_to_end || lanes[full].length == lengths[rows[0]])) ++full;
    auto lane = std::find_if(lanes.begin() + static_cast<ptrdiff_t>(full), lanes.end(), fits);
    if (lane == lanes.end()) lane = lanes.insert(lanes.end(), Lane{{}, 0});
    lane->rows.push_back(row);
    lane->length += lengths[row];
  }
  std::stable_sort(lanes.begin(), lanes.end(), [](const Lane& a, const Lane& b) { return a.length > b.length; });
  return lanes;
}

}  // namespace

BatchPlan::BatchPlan(const int64_t* batch_lengths, const std::vector<int64_t>& rows, bool end_to_end, int64_t before)
    : tokens_before(before), lengths_(batch_lengths) {
  const std::vector<Lane> filled = fill_lanes(lengths_, rows, end_to_end);
  auto n = static_cast<int64_t>(filled.size());
  offset.push_back(0);
  for (int64_t step = 0; step < filled[0].length; ++step) {
    while (filled[static_cast<size_t>(n - 1)].length <= step) --n;
    active.push_back(n);
    offset.push_back(offset.back() + n);
  }
  tokens.resize(static_cast<size_t>(num_tokens()));
  for (const Lane& lane : filled) {
    const int64_t i = lanes();
    int64_t step = 0;
    for (size_t r = 0; r < lane.rows.size(); ++r) {
      const int64_t row = lane.rows[r];
      for (int64_t k = 0; k < lengths_[row]; ++k, ++step)
        tokens[static_cast<size_t>(offset_at(step) + i)] = {static_cast<int32_t>(row), static_cast<int32_t>(k)};
      if (r + 1 < lane.rows.size()) turns.push_back({step - 1, i, row, lane.rows[r + 1]});
    }
    last_row.push_back(lane.rows.back());
  }
  std::stable_sort(turns.begin(), turns.end(), [](const Turn& a, const Turn& b) { return a.step < b.step; });
}

std::vector<BatchPlan> plan_batch(const int64_t* lengths, int64_t batch_size, bool end_to_end) {
  std::vector<int64_t> rows;
  for (int64_t b = 0; b < batch_size; ++b)
    if (lengths[b] > 0) rows.push_back(b);
  std::stable_sort(rows.begin(), rows.end(), [&](int64_t a, int64_t b) { return lengths[a] > lengths[b]; });
  std::vector<BatchPlan> plans;
  for (size_t i = 0; i < rows.size(); i += kGroupRows) {
    const auto begin = rows.begin() + static_cast<ptrdiff_t>(i);
    const auto end = begin + static_cast<ptrdiff_t>(std::min(kGroupRows, rows.size() - i));
    const int64_t before = plans.empty() ? 0 : plans.back().tokens_before + plans.back().num_tokens();
    plans.emplace_back(lengths, std::vector<int64_t>(begin, end), end_to_end, before);
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
  slots.resize(static_cast<size_t>(plan.num_tokens()));
  std::vector<int32_t> seen;  // by row of x: its index in `sources`, if it is in this chunk
  const auto source_of = [&](int64_t place) {
    return call.index[plan.row_at(place) * call.num_timesteps + plan.time_at(place, direction)];
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
    // Filled tentatively: a step that would make the chunk too large starts the next one instead.
    for (bool again = true; again;) {
      Chunk& chunk = chunks.back();
      for (int64_t at = plan.offset_at(step); at < plan.offset_at(step + 1); ++at) {
        const int32_t source = source_of(at);
        int32_t& place = place_in(chunk, source);
        if (place < 0) {
          place = static_cast<int32_t>(sources.size());
          sources.push_back(source);
        }
        slots[static_cast<size_t>(at)] = place - static_cast<int32_t>(chunk.first_row);
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
