package gateway

import (
	"context"
	"errors"
	"slices"

	"corral/internal/call"
	"corral/internal/dialect"
	"corral/internal/dispatch"
	"corral/internal/fleet"
	"corral/internal/lane"
)

// choice is one of the models that may answer a request.
type choice struct {
	envelope dialect.Envelope
	class    dispatch.Class
	spares   []call.Spare
}

// choose finds what answers a request: the model that it names, or for an alias the first of its models that an
// instance in reach has; those behind it that come into play after a while are its spares. If none is in reach, the
// first that is known is waited for.
func (g *Gateway) choose(ctx context.Context, route dialect.Route, e dialect.Envelope, role lane.Role) (choice, error) {
	candidates := g.candidates(route, e)
	var known, found *choice
	var first error
	for _, c := range candidates {
		class, err := g.Fleet.Class(ctx, c.Envelope.Target, role, c.Envelope.Signature)
		if errors.Is(err, fleet.ErrNoInstance) {
			return choice{}, err
		}
		if err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		this := &choice{envelope: c.Envelope, class: class}
		switch {
		case found != nil:
			if c.After > 0 {
				found.spares = append(found.spares, call.Spare{After: c.After, Envelope: c.Envelope, Class: class})
			}
		case len(candidates) == 1 || len(g.Fleet.Holders(dialect.CanonicalModel(c.Envelope.Target))) > 0:
			found = this
		case known == nil:
			known = this
		}
	}
	switch {
	case found != nil:
		return *found, nil
	case known != nil:
		return *known, nil
	}
	return choice{}, first
}

// candidates are the models that a request may be answered by, in order: what it names, or what the alias that it
// names stands for. An alias for embeddings has no fallbacks, because vectors of two models must not mix.
func (g *Gateway) candidates(route dialect.Route, e dialect.Envelope) []call.Spare {
	alias, ok := g.Config.Load().Alias(e.Model)
	if !ok {
		return []call.Spare{{Envelope: e}}
	}
	edit := dialect.Edit{
		Model: alias.Model, NumCtx: alias.NumCtx, NumPredict: alias.NumPredict, Think: alias.Think, KeepAlive: alias.KeepAlive,
	}
	all := []call.Spare{{Envelope: route.Edit(e, edit)}}
	if route.Embeds {
		return all
	}
	for _, f := range alias.Fallbacks {
		edit.Model = f.To
		all = append(all, call.Spare{After: f.After, Envelope: route.Edit(e, edit)})
	}
	return all
}

// standsFor is the model behind an alias: the first of its models that an instance in reach has, else the first.
func (g *Gateway) standsFor(asked string) (model string, aliased bool) {
	alias, ok := g.Config.Load().Alias(asked)
	if !ok {
		return "", false
	}
	for _, name := range alias.Models() {
		if len(g.Fleet.Holders(dialect.CanonicalModel(name))) > 0 {
			return name, true
		}
	}
	return alias.Model, true
}

// withAliases adds to a list a row for every alias of one name: that of the first of its models that is listed. It
// takes the place of a model of the same name, which nobody can ask for.
func (g *Gateway) withAliases(rows []fleet.Row) []fleet.Row {
	listed := make(map[string]fleet.Row, len(rows))
	for _, row := range rows {
		listed[row.Canonical()] = row
	}
	for _, alias := range g.Config.Load().Aliases {
		if alias.Glob() {
			continue
		}
		own := dialect.CanonicalModel(alias.Name)
		rows = slices.DeleteFunc(rows, func(row fleet.Row) bool { return row.Canonical() == own })
		for _, name := range alias.Models() {
			if row, ok := listed[dialect.CanonicalModel(name)]; ok {
				rows = append(rows, row.As(alias.Name))
				break
			}
		}
	}
	return rows
}
