package config

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// defaultFile is read when no file is named and it exists in the working directory.
const defaultFile = "corral.yaml"

// Options say where settings come from. A flag wins over a variable, a variable over the file, the
// file over the default.
type Options struct {
	Path  string   // the file; "" = CORRAL_CONFIG, else ./corral.yaml if there is one, else none
	Env   []string // variables as os.Environ returns them
	Flags Flags
}

// Flags are the settings that the command line has flags for.
type Flags struct {
	Listen string // "" = not given
}

// File returns the file that Load reads, or "" when there is none.
func (o Options) File() string {
	if path := cmp.Or(o.Path, parseEnviron(o.Env)[envConfig]); path != "" {
		return path
	}
	if _, err := os.Stat(defaultFile); err != nil {
		return ""
	}
	return defaultFile
}

// Files returns the files that the environment names, whose changes matter as much as those of File.
func (o Options) Files() []string {
	env := parseEnviron(o.Env)
	dir := filepath.Dir(o.File())
	var files []string
	for _, name := range []string{envCert, envKey} {
		path := trimVariable(env[name])
		if path != "" && !strings.HasPrefix(path, "env:") {
			files = append(files, resolvePath(dir, strings.TrimPrefix(path, "file:")))
		}
	}
	return files
}

// Load reads and checks every setting, and the files that hold secrets and certificates. What is wrong with a
// setting is an [*Error], the first one only.
func Load(o Options) (*Config, error) {
	l := loader{env: parseEnviron(o.Env), local: localAddrs()}
	if err := l.env.refuseMistyped(); err != nil {
		return nil, err
	}
	var s settings
	path := o.File()
	if path != "" {
		src, err := readConfig(path)
		if err != nil {
			return nil, err
		}
		l.dir = filepath.Dir(path)
		if s, err = readFile(newDocument(path, src)); err != nil {
			return nil, err
		}
	}
	l.env.apply(&s)
	if o.Flags.Listen != "" {
		s.listen = value{o.Flags.Listen, true, place{source: "--listen"}}
	}
	c, err := l.build(s)
	if err != nil {
		return nil, err
	}
	c.Path = path
	return c, nil
}

// newDocument drops the byte order mark that some editors write.
func newDocument(path string, src []byte) *document {
	text := string(src)
	if len(text) >= 3 && text[:3] == "\xef\xbb\xbf" {
		text = text[3:]
	}
	return &document{name: path, src: text}
}

func readConfig(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err == nil {
		defer f.Close()
		var src []byte
		if src, err = io.ReadAll(io.LimitReader(f, maxFile+1)); err == nil {
			return src, nil
		}
	}
	return nil, &Error{File: path, Message: "not readable: " + reason(err),
		Remedy: "Check the path given with --config or " + envConfig + "; without them and without ./" + defaultFile + " Corral needs no file."}
}

// reason is an I/O error without the operation and path, which the message around it says.
func reason(err error) string {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err.Error()
	}
	return err.Error()
}

// loader checks settings.
type loader struct {
	env   environment
	dir   string // of the configuration file; relative paths begin here
	local []netip.Addr
}
