"""What tests share: random models, sentences, a small tagger."""
