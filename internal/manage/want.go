package manage

import (
	"fmt"
	"strings"

	"corral/internal/config"
	"corral/internal/fleet"
)

// unwanted says why a model does not belong on an instance, "" if it does. What is not known of the model yet, nil,
// or a size of 0, speaks for it.
func unwanted(c config.Instance, canonical string, m *fleet.Model) string {
	switch {
	case !c.Serves(canonical):
		return "its `models` do not include it"
	case m == nil:
		return ""
	case !c.HasRole(roleOf(*m)):
		return fmt.Sprintf("its role is %s, but the model is for %s", strings.Join(c.Roles, ", "), roleOf(*m))
	case c.MaxModel > 0 && m.Size > int64(c.MaxModel):
		return fmt.Sprintf("%.2f GB is more than its max_model, %s", float64(m.Size)/1e9, c.MaxModel)
	}
	return ""
}

func roleOf(m fleet.Model) string {
	if m.Embeds {
		return config.RoleEmbed
	}
	return config.RoleGenerate
}

// sift parts instances into those that want a model and, by name, why the others do not.
func sift(places []fleet.Place, canonical string, m *fleet.Model) (wanting []fleet.Place, reasons []string) {
	for _, p := range places {
		if why := unwanted(p.Config, canonical, m); why != "" {
			reasons = append(reasons, p.Name+": "+why)
			continue
		}
		wanting = append(wanting, p)
	}
	return wanting, reasons
}
