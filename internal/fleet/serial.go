package fleet

import "slices"

// serialFamilies are run one request at a time by Ollama whatever OLLAMA_NUM_PARALLEL says, because they are not safe
// otherwise: server/sched.go of v0.33.0. Older versions have a shorter list; one at a time is safe there too.
var serialFamilies = []string{
	"mllama", "qwen3vl", "qwen3vlmoe", "qwen35", "qwen35moe", "qwen3next", "lfm2", "lfm2moe",
	"nemotron_h", "nemotron_h_moe", "nemotron_h_omni",
}

// mlx is the format of models that Ollama gives to its MLX runner, which has one loop for all requests.
const mlx = "safetensors"

// serial says whether Ollama runs the model one request at a time: it can not complete, as embedding models, or
// its family or its runner can not do more. Versions before 0.6.4 tell no capabilities.
func (s showAnswer) serial() bool {
	completes := len(s.Capabilities) == 0 || slices.Contains(s.Capabilities, "completion")
	return !completes || s.Details.Format == mlx || slices.Contains(serialFamilies, s.Details.Family)
}
