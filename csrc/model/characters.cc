#include "model/characters.h"

#include <algorithm>

namespace elmo_fast {

std::vector<int64_t> marker_char_ids(int64_t marker, int64_t max_characters) {
  std::vector<int64_t> ids(static_cast<size_t>(max_characters), kPadCharacter);
  const int64_t mark[] = {kBeginWord, marker, kEndWord};
  std::copy_n(mark, std::min<int64_t>(3, max_characters), ids.begin());
  return ids;
}

void word_char_ids(std::string_view word, int64_t max_characters, int64_t* out) {
  if (word == "<S>" || word == "</S>") {
    const std::vector<int64_t> ids = marker_char_ids(word == "<S>" ? kBeginSentence : kEndSentence, max_characters);
    std::copy(ids.begin(), ids.end(), out);
    return;
  }
  std::fill_n(out, max_characters, kPadCharacter);
  const auto n = std::min(static_cast<int64_t>(word.size()), max_characters - 2);
  out[0] = kBeginWord;
  for (int64_t i = 0; i < n; ++i) out[1 + i] = static_cast<unsigned char>(word[static_cast<size_t>(i)]) + 1;
  out[1 + n] = kEndWord;
}

}  // namespace elmo_fast
