// Words to character ids: UTF-8 bytes between begin and end marks, the way every ELMo was trained.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace elmo_fast {

// Character ids of the model; each is one more than its character, because id 0 means that there is no token.
constexpr int64_t kBeginSentence = 257, kEndSentence = 258, kBeginWord = 259, kEndWord = 260, kPadCharacter = 261;
constexpr int64_t kCharIds = 262;

// The ids of one word, written to `out` (max_characters). Bytes beyond max_characters - 2 are dropped. The words "<S>"
// and "</S>" give the sentence markers.
void word_char_ids(std::string_view word, int64_t max_characters, int64_t* out);

// The ids of a sentence marker, kBeginSentence or kEndSentence: (max_characters).
std::vector<int64_t> marker_char_ids(int64_t marker, int64_t max_characters);

}  // namespace elmo_fast
