// Embeds text without Python: one sentence per line, tokens separated by white space, from standard input.
//
//   elmo-fast export tiny tiny.elmo                       # once, with Python: a model's weights as one file
//   cmake -S csrc -B build -G Ninja -DELMO_FAST_EXAMPLES=ON && cmake --build build --target embed
//   build/embed tiny.elmo < examples/sentences.txt        # the mean of the layers: one line per token
//   build/embed tiny.elmo --raw vectors.bin < sentences.txt
//
// --raw writes every layer of every sentence, sentence markers included: (num_layers, tokens + 2, output_dim) float32,
// one sentence after the other, bit for bit what Python computes. --threads N and --precision NAME are as in Python.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpu/precision.h"
#include "model/bilm.h"
#include "model/characters.h"
#include "model/weight_file.h"

namespace {

struct Arguments {
  std::string model, raw, precision = "float32";
  int threads = 1;
};

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word.rfind("--", 0) != 0 && arguments.model.empty()) {
      arguments.model = word;
    } else if (i + 1 < argc && word == "--raw") {
      arguments.raw = argv[++i];
    } else if (i + 1 < argc && word == "--precision") {
      arguments.precision = argv[++i];
    } else if (i + 1 < argc && word == "--threads") {
      arguments.threads = std::atoi(argv[++i]);
    } else {
      throw std::invalid_argument("usage: embed MODEL [--raw FILE] [--threads N] [--precision NAME] < SENTENCES");
    }
  }
  if (arguments.model.empty() || arguments.threads < 1)
    throw std::invalid_argument("usage: embed MODEL [--raw FILE] [--threads N] [--precision NAME] < SENTENCES");
  return arguments;
}

std::vector<std::string> split(const std::string& line) {
  std::istringstream stream(line);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

void print_mean_layer(const std::vector<std::string>& words, const std::vector<float>& out, int64_t layers,
                      int64_t dim) {
  const int64_t steps = static_cast<int64_t>(words.size()) + 2;
  for (int64_t t = 1; t + 1 < steps; ++t) {
    std::printf("%s", words[static_cast<size_t>(t - 1)].c_str());
    for (int64_t k = 0; k < dim; ++k) {
      float sum = 0;
      for (int64_t l = 0; l < layers; ++l) sum += out[static_cast<size_t>((l * steps + t) * dim + k)];
      std::printf(" %.6g", static_cast<double>(sum / static_cast<float>(layers)));
    }
    std::printf("\n");
  }
}

}  // namespace

int main(int argc, char** argv) {
  using namespace elmo_fast;
  try {
    const Arguments arguments = parse(argc, argv);
    const BiLm model = read_weight_file(arguments.model, parse_precision(arguments.precision),
                                        /*word_cache_size=*/32768, arguments.threads);
    std::ofstream raw;
    if (!arguments.raw.empty()) {
      raw.open(arguments.raw, std::ios::binary);
      if (!raw) throw std::runtime_error(arguments.raw + ": cannot be opened for writing");
    }
    for (std::string line; std::getline(std::cin, line);) {
      const std::vector<std::string> words = split(line);
      const int64_t n = static_cast<int64_t>(words.size()), width = model.max_characters();
      std::vector<int64_t> char_ids(static_cast<size_t>(n * width));
      for (int64_t i = 0; i < n; ++i) word_char_ids(words[static_cast<size_t>(i)], width, char_ids.data() + i * width);
      std::vector<float> out(static_cast<size_t>(model.num_layers() * (n + 2) * model.output_dim()));
      const std::unique_ptr<bool[]> mask(new bool[static_cast<size_t>(n + 2)]);
      BiLmCall call{};
      call.char_ids = char_ids.data();
      call.lengths = &n;
      call.batch_size = 1;
      call.num_timesteps = n;
      call.out = out.data();
      call.mask = mask.get();
      model.run(call, arguments.threads);
      if (raw.is_open())
        raw.write(reinterpret_cast<const char*>(out.data()), static_cast<std::streamsize>(out.size() * sizeof(float)));
      else
        print_mean_layer(words, out, model.num_layers(), model.output_dim());
    }
    if (raw.is_open() && !raw.flush()) throw std::runtime_error(arguments.raw + ": could not be written whole");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "embed: error: %s\n", error.what());
    return 2;
  }
  return 0;
}
