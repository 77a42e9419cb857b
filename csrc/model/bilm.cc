#include "model/bilm.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

#include "model/characters.h"
#include "model/marked_batch.h"
#include "runtime/thread_pool.h"

namespace elmo_fast {
namespace {

// Floats below which waking other threads costs more than copying alone.
constexpr int64_t kAlone = int64_t{1} << 16;

}  // namespace

void run_layers(const BiLstm& lstm, BiLstmCall call, const bool* mask, int num_threads) {
  const int64_t positions = call.batch_size * call.num_timesteps, width = lstm.projection_dim();
  const size_t bytes = static_cast<size_t>(width) * sizeof(float);
  run_job(2 * positions * width < kAlone ? 1 : num_threads, [&](Team& team) {
    const auto [begin, end] = team.share(positions);
    for (int64_t i = begin; i < end; ++i) {
      float* const halves = call.out + i * 2 * width;
      if (!mask[i]) {
        std::memset(halves, 0, 2 * bytes);
        continue;
      }
      const float* const token = call.x + call.index[i] * width;
      std::memcpy(halves, token, bytes);
      std::memcpy(halves + width, token, bytes);
    }
  });
  call.out += 2 * positions * width;
  lstm.run(call, num_threads);
}

BiLm::BiLm(std::shared_ptr<const CachedTokenEncoder> encoder, std::shared_ptr<const BiLstm> lstm)
    : encoder_(std::move(encoder)),
      lstm_(std::move(lstm)),
      bos_(marker_char_ids(kBeginSentence, max_characters())),
      eos_(marker_char_ids(kEndSentence, max_characters())) {
  const int64_t got = encoder_->encoder().output_dim();
  for (const int64_t expected : {lstm_->input_size(), lstm_->projection_dim()})
    if (got != expected)
      throw std::invalid_argument("encoder: expected an output of size " + std::to_string(expected) +
                                  ", the LSTM's input and projection, got " + std::to_string(got));
}

void BiLm::run(const BiLmCall& call, int num_threads) const {
  if (call.batch_size == 0) return;
  const int64_t steps = call.num_timesteps + 2, width = encoder_->encoder().output_dim();
  const MarkedBatch batch =
      add_markers(call.char_ids, call.lengths, call.batch_size, call.num_timesteps, max_characters(),
                  encoder_->encoder().shape().n_char_ids, bos_.data(), eos_.data(), call.mask);
  DistinctTokens tokens =
      find_distinct(batch.char_ids.data(), static_cast<int64_t>(batch.positions.size()), max_characters());
  const std::unique_ptr<float[]> table(new float[static_cast<size_t>(tokens.size() * width)]);
  encoder_->encode(&tokens, table.get(), num_threads);
  std::vector<int32_t> index(static_cast<size_t>(call.batch_size * steps));
  for (size_t i = 0; i < batch.positions.size(); ++i) index[static_cast<size_t>(batch.positions[i])] = tokens.index[i];
  std::vector<int64_t> lengths;
  for (int64_t b = 0; b < call.batch_size; ++b)
    lengths.push_back(std::count(call.mask + b * steps, call.mask + (b + 1) * steps, true));
  run_layers(*lstm_,
             {table.get(), index.data(), lengths.data(), call.batch_size, steps, call.h, call.c, call.out, nullptr,
              call.initial_h, call.initial_c},
             call.mask, num_threads);
}

}  // namespace elmo_fast
