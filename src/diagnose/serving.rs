//! Rules about engines and launchers: what vLLM, llama.cpp and mlx-lm refuse, and messages that come from where a model runs.
