#include "model/weight_file.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <fstream>
#include <vector>

namespace elmo_fast {
namespace {

constexpr char kMagic[8] = {'e', 'l', 'm', 'o', 'f', 'a', 's', 't'};
constexpr uint32_t kVersion = 1;

// Above every real model's sizes, and small enough that no product of sizes overflows an int64.
constexpr int64_t kMostParts = 256, kMostIds = int64_t{1} << 20, kMostCharacters = int64_t{1} << 16,
                  kMostUnits = int64_t{1} << 20;

uint32_t crc32(uint32_t crc, const unsigned char* data, size_t n) {
  static const std::array<uint32_t, 256> table = [] {
    std::array<uint32_t, 256> t{};
    for (uint32_t i = 0; i < 256; ++i) {
      t[i] = i;
      for (int bit = 0; bit < 8; ++bit) t[i] = (t[i] >> 1) ^ (t[i] & 1 ? 0xedb88320u : 0);
    }
    return t;
  }();
  crc = ~crc;
  for (size_t i = 0; i < n; ++i) crc = (crc >> 8) ^ table[(crc ^ data[i]) & 0xff];
  return ~crc;
}

class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path), file_(path, std::ios::binary) {
    if (!file_) fail("cannot be opened");
    file_.seekg(0, std::ios::end);
    size_ = file_.tellg();
    file_.seekg(0);
  }

  [[noreturn]] void fail(const std::string& what) const { throw WeightFileError(path_ + ": " + what); }

  void bytes(void* to, int64_t n, const std::string& name) {
    if (n > size_ - position_ || !file_.read(static_cast<char*>(to), n))
      fail(name + ": expected " + std::to_string(n) + " bytes at " + std::to_string(position_) + ", the file ends at " +
           std::to_string(size_));
    position_ += n;
  }

  template <class T>
  T number(const std::string& name) {
    T value;
    bytes(&value, sizeof value, name);
    return value;
  }

  int64_t integer(const std::string& name, int64_t least, int64_t most) {
    const auto value = number<int64_t>(name);
    if (value < least || value > most)
      fail(name + ": expected " + std::to_string(least) + " to " + std::to_string(most) + ", got " +
           std::to_string(value));
    return value;
  }

  float clip(const std::string& name) {
    const auto value = number<float>(name);
    if (!std::isfinite(value) || value < 0) fail(name + ": expected a finite number of 0 or more");
    return value;
  }

  std::vector<float> floats(int64_t n, const std::string& name) {
    // Checked before memory is allocated, because a damaged size could ask for all of it.
    if (n > (size_ - position_) / static_cast<int64_t>(sizeof(float)))
      fail(name + ": expected " + std::to_string(n) + " floats at " + std::to_string(position_) +
           ", the file ends at " + std::to_string(size_));
    std::vector<float> values(static_cast<size_t>(n));
    bytes(values.data(), n * static_cast<int64_t>(sizeof(float)), name);
    if (!std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); }))
      fail(name + ": expected finite values");
    return values;
  }

  // Reads the rest of the file and returns to the current position.
  uint32_t checksum_of_rest() {
    std::vector<char> block(size_t{1} << 20);
    uint32_t crc = 0;
    for (int64_t at = position_; at < size_;) {
      const int64_t n = std::min<int64_t>(static_cast<int64_t>(block.size()), size_ - at);
      if (!file_.read(block.data(), n)) fail("cannot be read");
      crc = crc32(crc, reinterpret_cast<const unsigned char*>(block.data()), static_cast<size_t>(n));
      at += n;
    }
    file_.seekg(position_);
    return crc;
  }

  void end() const {
    if (position_ != size_) fail("expected " + std::to_string(position_) + " bytes, got " + std::to_string(size_));
  }

 private:
  std::string path_;
  std::ifstream file_;
  int64_t size_ = 0, position_ = 0;
};

// Weight and bias.
struct Pair {
  std::vector<float> weight, bias;
};

Pair read_pair(Reader& file, const std::string& name, int64_t weights, int64_t biases) {
  Pair pair;
  pair.weight = file.floats(weights, name + " weight");
  pair.bias = file.floats(biases, name + " bias");
  return pair;
}

void check_start(Reader& file) {
  char magic[sizeof kMagic];
  file.bytes(magic, sizeof magic, "magic");
  if (std::memcmp(magic, kMagic, sizeof magic) != 0) file.fail("expected a file that begins with \"elmofast\"");
  if (const auto version = file.number<uint32_t>("version"); version != kVersion)
    file.fail("expected format version " + std::to_string(kVersion) + ", got " + std::to_string(version));
  const auto expected = file.number<uint32_t>("checksum");
  if (file.checksum_of_rest() != expected) file.fail("the file is damaged: its checksum is wrong");
}

std::shared_ptr<LstmLayer> read_direction(Reader& file, const std::string& name, int64_t projection_dim,
                                          int64_t cell_size, Precision precision) {
  const int64_t gates = 4 * cell_size;
  const std::vector<float> input = file.floats(gates * projection_dim, name + " input_weight"),
                           state = file.floats(gates * projection_dim, name + " state_weight"),
                           bias = file.floats(gates, name + " bias"),
                           projection = file.floats(projection_dim * cell_size, name + " projection");
  return std::make_shared<LstmLayer>(LstmParams{input.data(), state.data(), bias.data(), projection.data()},
                                     projection_dim, projection_dim, cell_size, precision);
}

}  // namespace

BiLm read_weight_file(const std::string& path, Precision precision, int64_t word_cache_size, int num_threads) {
  Reader file(path);
  check_start(file);
  TokenEncoderParams p{};
  p.n_char_ids = file.integer("n_char_ids", 1, kMostIds);
  p.embedding_dim = file.integer("embedding_dim", 1, kMostCharacters);
  p.max_characters = file.integer("max_characters", 3, kMostCharacters);
  p.activation = file.integer("activation", 0, 1) == 1 ? Activation::kTanh : Activation::kRelu;
  const int64_t n_convolutions = file.integer("n_convolutions", 1, kMostParts),
                n_highways = file.integer("n_highways", 0, kMostParts);
  const bool has_projection = file.integer("has_projection", 0, 1) == 1;
  const int64_t projection_dim = file.integer("projection_dim", 1, kMostUnits),
                cell_size = file.integer("cell_size", 1, kMostUnits),
                n_layers = file.integer("n_layers", 1, kMostParts);
  BiLstmOptions options{};
  options.use_skip_connections = file.integer("use_skip_connections", 0, 1) == 1;
  options.cell_clip = file.clip("cell_clip"), options.proj_clip = file.clip("proj_clip");
  for (int64_t i = 0; i < n_convolutions; ++i) {
    const std::string name = "convolution " + std::to_string(i);
    const int64_t width = file.integer(name + " filter_width", 1, p.max_characters);
    p.convolutions.push_back({nullptr, nullptr, file.integer(name + " n_filters", 1, kMostUnits), width});
  }
  std::shared_ptr<CachedTokenEncoder> encoder;
  {
    const std::vector<float> embedding = file.floats(p.n_char_ids * p.embedding_dim, "char_embedding");
    p.char_embedding = embedding.data();
    std::vector<Pair> parts;
    parts.reserve(static_cast<size_t>(n_convolutions + n_highways + 1));
    const auto read = [&](const std::string& name, int64_t weights, int64_t biases) -> const Pair& {
      parts.push_back(read_pair(file, name, weights, biases));
      return parts.back();
    };
    for (size_t i = 0; i < p.convolutions.size(); ++i) {
      ConvolutionParams& c = p.convolutions[i];
      const Pair& pair =
          read("convolution " + std::to_string(i), c.n_filters * p.embedding_dim * c.filter_width, c.n_filters);
      c.weight = pair.weight.data(), c.bias = pair.bias.data();
    }
    const int64_t f = p.n_filters();
    for (int64_t i = 0; i < n_highways; ++i) {
      const Pair& pair = read("highway " + std::to_string(i), 2 * f * f, 2 * f);
      p.highways.push_back({pair.weight.data(), pair.bias.data()});
    }
    if (has_projection) {
      const Pair& pair = read("projection", projection_dim * f, projection_dim);
      p.projection_weight = pair.weight.data(), p.projection_bias = pair.bias.data();
      p.projection_dim = projection_dim;
    }
    encoder = std::make_shared<CachedTokenEncoder>(p, precision, word_cache_size, num_threads);
  }
  BiLstm::Layers layers[2];
  for (int64_t l = 0; l < n_layers; ++l)
    for (int d = 0; d < 2; ++d)
      layers[d].push_back(read_direction(file, "layer " + std::to_string(l) + (d ? " backward" : " forward"),
                                         projection_dim, cell_size, precision));
  file.end();
  try {
    return BiLm(std::move(encoder), std::make_shared<BiLstm>(std::move(layers[0]), std::move(layers[1]), options));
  } catch (const std::invalid_argument& error) {
    file.fail(error.what());
  }
}

}  // namespace elmo_fast
