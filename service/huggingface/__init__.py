"""Models as Hugging Face keeps them: a folder of safetensors, config.json, tokenizer.json. Reads, writes nothing."""
