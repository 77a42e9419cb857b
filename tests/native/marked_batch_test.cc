// Sentence markers, holes, and invalid ids.
#include "model/marked_batch.h"

#include <doctest/doctest.h>

#include <memory>
#include <stdexcept>

using namespace elmo_fast;

namespace {

using Ids = std::vector<int64_t>;

const Ids kBos = {9, 8}, kEos = {9, 7};

struct Marked {
  MarkedBatch batch;
  std::vector<int> mask;
};

Marked mark(const Ids& ids, int64_t rows, int64_t steps) {
  const int64_t n = rows * (steps + 2);
  const std::unique_ptr<bool[]> mask(new bool[static_cast<size_t>(n)]);
  Marked result;
  result.batch = add_markers(ids.data(), nullptr, rows, steps, 2, 10, kBos.data(), kEos.data(), mask.get());
  result.mask.assign(mask.get(), mask.get() + n);
  return result;
}

}  // namespace

TEST_CASE("markers surround a row's tokens; padding is not read") {
  const Marked m = mark({1, 0, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0}, 2, 3);
  CHECK(m.mask == std::vector<int>{1, 1, 1, 1, 0, 1, 1, 0, 0, 0});
  CHECK(m.batch.positions == Ids{0, 1, 2, 3, 5, 6});
  CHECK(m.batch.char_ids == Ids{9, 8, 1, 0, 2, 3, 9, 7, 9, 8, 9, 7});
}

TEST_CASE("</S> replaces the token in its place; a hole below the length is read") {
  Marked m = mark({1, 1, 0, 0, 0, 2}, 1, 3);  // two tokens: </S> goes to position 3
  CHECK(m.mask == std::vector<int>{1, 1, 0, 1, 0});
  CHECK(m.batch.positions == Ids{0, 1, 2, 3});
  CHECK(m.batch.char_ids == Ids{9, 8, 1, 1, 0, 0, 9, 7});
  m = mark({0, 0, 0, 0, 0, 0, 5, 5}, 1, 4);  // one token, behind </S>: in the mask, and so read
  CHECK(m.mask == std::vector<int>{1, 0, 1, 0, 1, 0});
  CHECK(m.batch.positions == Ids{0, 1, 2, 4});
  CHECK(m.batch.char_ids == Ids{9, 8, 0, 0, 9, 7, 5, 5});
}

TEST_CASE("rows without steps, and no rows") {
  CHECK(mark({}, 2, 0).batch.char_ids == Ids{9, 8, 9, 7, 9, 8, 9, 7});
  CHECK(mark({}, 0, 3).batch.positions.empty());
}

TEST_CASE("an id outside the model's is an error that says where") {
  for (const int64_t wrong : {int64_t{10}, int64_t{-1}, INT64_MIN, INT64_MAX}) {
    const std::string message = "char_ids: expected ids from 0 to 9, got " + std::to_string(wrong) + " at (1, 0, ";
    CHECK_THROWS_WITH_AS(mark({1, 1, 2, wrong}, 2, 1), (message + "1)").c_str(), std::invalid_argument);
    CHECK_THROWS_WITH_AS(mark({1, 1, wrong, 2}, 2, 1), (message + "0)").c_str(), std::invalid_argument);
  }
}
