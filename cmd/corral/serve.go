package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"corral/internal/config"
	"corral/internal/observe"
	"corral/internal/server"
)

func serveCommand() *cobra.Command {
	var o config.Options
	var drain time.Duration
	var logFormat string
	var verbose bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the instances behind one endpoint",
		Long: `Serve the instances behind one endpoint. Without configuration it finds Ollama by OLLAMA_HOST, else on
127.0.0.1:11434. A fleet is named by CORRAL_INSTANCES=url,url or by corral.yaml, which is read again when it
changes and on SIGHUP. SIGTERM and Ctrl-C let running requests end; a second signal ends at once.`,
		Example: "  corral serve\n  CORRAL_INSTANCES=http://10.0.0.5:11434,http://10.0.0.6:11434 corral serve\n  corral serve --config corral.yaml --listen 0.0.0.0:11435",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains(logFormats, logFormat) {
				return fmt.Errorf("--log %s: it is one of %s", logFormat, strings.Join(logFormats, ", "))
			}
			o.Env = os.Environ()
			o.Path = o.File() // a file that was there once must not be gone at a reload
			log, flush := newLog(cmd.ErrOrStderr(), logFormat, verbose)
			defer flush()
			return server.Run(cmd.Context(), server.Options{
				Load:    func() (*config.Config, error) { return config.Load(o) },
				Path:    o.Path,
				Files:   o.Files(),
				Reload:  hangups(),
				Drain:   drain,
				Version: version,
				Out:     cmd.OutOrStdout(),
				Log:     log,
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Path, "config", "", "configuration file (default corral.yaml, if there is one)")
	flags.StringVar(&o.Flags.Listen, "listen", "", "address to listen on (default 127.0.0.1:11435)")
	flags.DurationVar(&drain, "drain", time.Minute, "how long running requests may take to end after a signal")
	flags.StringVar(&logFormat, "log", "auto", "log as text, json, or auto: text on a terminal")
	_ = cmd.RegisterFlagCompletionFunc("log", cobra.FixedCompletions(logFormats, cobra.ShellCompDirectiveNoFileComp))
	flags.BoolVarP(&verbose, "verbose", "v", false, "log what is tried as well")
	return cmd
}

// logFormats are what --log takes.
var logFormats = []string{"auto", "text", "json"}

// hangups asks for a reload at every SIGHUP.
func hangups() <-chan struct{} {
	signals, reload := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, syscall.SIGHUP)
	go func() {
		for range signals {
			reload <- struct{}{}
		}
	}()
	return reload
}

// newLog is the log, and what must be called before the process ends.
func newLog(w io.Writer, format string, verbose bool) (log *slog.Logger, flush func()) {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	f, isFile := w.(*os.File)
	terminal := isFile && term.IsTerminal(int(f.Fd()))
	if format == "text" || (format == "auto" && terminal) {
		return slog.New(tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: time.TimeOnly, NoColor: !terminal})), func() {}
	}
	lines := observe.NewLines(w)
	return slog.New(slog.NewJSONHandler(lines, &slog.HandlerOptions{Level: level})), func() { _ = lines.Flush() }
}
