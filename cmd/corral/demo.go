package main

import (
	"github.com/spf13/cobra"

	"corral/internal/demo"
)

func demoCommand() *cobra.Command {
	var o demo.Options
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show what Corral does under a burst of calls, with and without it",
		Long: `Show what Corral does: a burst of calls as an indexing run of GraphRAG fires them, first straight at Ollama, then
through Corral. With --ollama (what make demo gives) the demo starts Ollama servers of its own with a simulated
engine; with --url it uses your Ollama and your model, which takes as long as the calls take.`,
		Example: "  make demo\n  corral demo --url http://127.0.0.1:11434 --model llama3.1:8b --slots 4",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Out = cmd.OutOrStdout()
			return demo.Run(cmd.Context(), o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Ollama, "ollama", "", "ollama binary with a simulated engine, as make demo builds it")
	flags.StringVar(&o.URL, "url", "", "your own Ollama instead, such as http://127.0.0.1:11434")
	flags.StringVar(&o.Model, "model", "", "with --url: the model that answers")
	flags.StringVar(&o.EmbedModel, "embed-model", "", "with --url: a model for embeddings, which a tenth of the calls then are")
	flags.IntVar(&o.Slots, "slots", 0, "with --url: the OLLAMA_NUM_PARALLEL of your Ollama (default 1)")
	flags.DurationVar(&o.Timeout, "timeout", 0, "with --url: the clients' timeout (default 3m0s)")
	flags.IntVar(&o.Calls, "calls", 0, "calls, all at once (default 1500, with --url 200)")
	flags.BoolVar(&o.Keep, "keep", false, "stay up afterwards, until Ctrl-C")
	return cmd
}
