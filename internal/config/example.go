package config

import _ "embed"

//go:embed example.yaml
var example []byte

// Example returns a commented corral.yaml to start from. What it does not comment out loads as it is.
func Example() []byte { return append([]byte(nil), example...) }
