package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"corral/internal/config"
	"corral/internal/fleet"
)

// checkLook is how long a check waits for the slowest instance.
const checkLook = 10 * time.Second

// Check asks every instance of a configuration how it is and writes what it found. It returns an error if one
// of them cannot be used.
func Check(ctx context.Context, c *config.Config, out io.Writer) error {
	f := fleet.New(fleet.Options{Log: slog.New(slog.DiscardHandler)})
	defer f.Close()
	if err := f.Apply(c.Instances); err != nil {
		return err
	}
	f.Meet(ctx, checkLook)
	bad := 0
	for _, v := range f.Views() {
		fmt.Fprintf(out, "%-20s %-32s %s\n", v.Name, v.URL, describe(v))
		for _, m := range v.Models {
			fmt.Fprintf(out, "  %s\n", m)
		}
		if !v.Up {
			bad++
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d instances cannot be used now", bad, len(c.Instances))
	}
	if len(c.Instances) == 0 {
		return errors.New("no instance is named")
	}
	return nil
}
