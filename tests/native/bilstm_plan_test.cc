// How a batch is walked: every token once, rows end to end in lanes.
#include "model/bilstm_plan.h"

#include <doctest/doctest.h>

#include <map>
#include <set>

#include "random_model.h"

using namespace elmo_fast;

namespace {

int64_t place_of(const BatchPlan& plan, int64_t step, int64_t lane) { return plan.offset_at(step) + lane; }

// Follows each lane from its first row through its turns to its last row.
void check(const BatchPlan& plan, const std::vector<int64_t>& lengths, std::set<int64_t>* rows) {
  std::map<std::pair<int64_t, int64_t>, BatchPlan::Turn> turns;  // by lane and step
  for (const BatchPlan::Turn& turn : plan.turns) turns[{turn.lane, turn.step}] = turn;
  REQUIRE(turns.size() == plan.turns.size());
  for (size_t i = 1; i < plan.turns.size(); ++i) CHECK(plan.turns[i - 1].step <= plan.turns[i].step);
  size_t turned = 0;
  int64_t tokens = 0;
  for (int64_t lane = 0; lane < plan.lanes(); ++lane) {
    int64_t row = plan.row_at(lane), in_row = 0;
    CHECK(rows->insert(row).second);
    for (int64_t step = 0; step < plan.steps() && lane < plan.active_at(step); ++step, ++tokens) {
      const int64_t place = place_of(plan, step, lane);
      REQUIRE(plan.row_at(place) == row);
      REQUIRE(plan.time_at(place, 0) == in_row);
      REQUIRE(plan.time_at(place, 1) == lengths[static_cast<size_t>(row)] - 1 - in_row);
      ++in_row;
      const auto turn = turns.find({lane, step});
      if (turn == turns.end()) continue;
      ++turned;
      REQUIRE(turn->second.ended == row);
      REQUIRE(in_row == lengths[static_cast<size_t>(row)]);
      row = turn->second.next, in_row = 0;
      CHECK(rows->insert(row).second);
    }
    CHECK(row == plan.last_row[static_cast<size_t>(lane)]);
    CHECK(in_row == lengths[static_cast<size_t>(row)]);
  }
  CHECK(turned == turns.size());
  CHECK(tokens == plan.num_tokens());
}

}  // namespace

TEST_CASE("plan: every token once, with and without rows end to end") {
  Random random(1);
  for (const bool end_to_end : {false, true})
    for (const int64_t n : {1, 2, 7, 64, 600}) {
      std::vector<int64_t> lengths;
      for (int64_t i = 0; i < n; ++i) lengths.push_back(random.integer(i == 0 ? 1 : 0, 40));
      std::set<int64_t> rows;
      int64_t before = 0;
      for (const BatchPlan& plan : plan_batch(lengths.data(), n, end_to_end)) {
        CHECK(plan.tokens_before == before);
        before += plan.num_tokens();
        check(plan, lengths, &rows);
        if (!end_to_end) CHECK(plan.turns.empty());
      }
      for (int64_t b = 0; b < n; ++b) CHECK(rows.count(b) == (lengths[static_cast<size_t>(b)] > 0 ? 1 : 0));
    }
}

TEST_CASE("plan: as many steps as the longest row, no more lanes than needed") {
  const std::vector<int64_t> lengths = {2, 9, 0, 3, 9, 4, 5};
  const std::vector<BatchPlan> plans = plan_batch(lengths.data(), 7, true);
  REQUIRE(plans.size() == 1);
  CHECK(plans[0].steps() == 9);
  CHECK(plans[0].lanes() == 4);  // 9; 9; 5 + 4; 3 + 2
  CHECK(plans[0].active_at(8) == 3);
  CHECK(plan_batch(lengths.data(), 7, false)[0].lanes() == 6);
  const std::vector<int64_t> none = {0, 0};
  CHECK(plan_batch(none.data(), 2, true).empty());
}
