package main

import (
	"os"

	"github.com/spf13/cobra"

	"corral/internal/config"
	"corral/internal/server"
)

func checkCommand() *cobra.Command {
	var o config.Options
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the configuration and ask every instance how it is",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Env = os.Environ()
			c, err := config.Load(o)
			if err != nil {
				return err
			}
			return server.Check(cmd.Context(), c, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&o.Path, "config", "", "configuration file (default corral.yaml, if there is one)")
	cmd.Flags().StringVar(&o.Flags.Listen, "listen", "", "address to listen on (default 127.0.0.1:11435)")
	return cmd
}
