package config

import (
	"path/filepath"

	"testing"
)

func TestPrecedence(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "c.yaml"),
		"listen: :1\nhosts: [a]\ninstances: [{name: f, url: h, slots: 3}]\nqueue: {max_waiting: 5}\n")
	f := func(flag string, env []string, want string) {
		t.Helper()
		c, err := Load(Options{Path: path, Env: env, Flags: Flags{Listen: flag}})
		if err != nil {
			t.Fatal(err)
		}
		if c.Listen != want {
			t.Errorf("listen %s, want %s", c.Listen, want)
		}
	}
	f("", nil, ":1")
	f("", []string{"CORRAL_LISTEN="}, ":1")
	f("", []string{"CORRAL_LISTEN=:2"}, ":2")
	f(":3", []string{"CORRAL_LISTEN=:2"}, ":3")

	c, err := Load(Options{Path: path, Env: []string{
		"CORRAL_INSTANCES=10.0.0.1, b=https://x.example/p/ ,http://[fd00::1]:5", "CORRAL_HOSTS=B,c", "CORRAL_ORIGINS=*",
		"CORRAL_QUEUE_MAX_WAITING=7", "CORRAL_QUEUE_MAX_BYTES=2GiB", "CORRAL_QUEUE_MAX_BODY='10MB'", "OLLAMA_HOST=ignored"}})
	if err != nil {
		t.Fatal(err)
	}
	want := `listen :1
hosts changed: [] -> [b, c]
origins changed: [] -> [*]
instance 10.0.0.1:11434 added
instance b added
instance [fd00::1]:5 added
queue.max_waiting changed: 0 -> 7
queue.max_bytes changed: 0 -> 2GiB
queue.max_body changed: 0 -> 10MB
  10.0.0.1:11434 http://10.0.0.1:11434 [generate, embed] slots not stated limit not stated models []
  b https://x.example:443/p [generate, embed] slots not stated limit not stated models []
  [fd00::1]:5 http://[fd00::1]:5 [generate, embed] slots not stated limit not stated models []
`
	if got := dump(c); got != want {
		t.Errorf("got:\n%s", got)
	}
}

func TestEnvironmentErrors(t *testing.T) {
	t.Chdir(t.TempDir())
	f := func(variable, want string) {
		t.Helper()
		_, err := Load(Options{Env: []string{variable}})
		if err == nil {
			t.Errorf("%s: no error", variable)
		} else if got := err.Error(); got != want {
			t.Errorf("%s:\ngot:  %s\nwant: %s", variable, got, want)
		}
	}
	f("CORRAL_LISTN=:1", "CORRAL_LISTN: unknown variable\nDid you mean CORRAL_LISTEN? Otherwise unset it.")
	f("CORRAL_INSTANCE=a", "CORRAL_INSTANCE: unknown variable\nDid you mean CORRAL_INSTANCES? Otherwise unset it.")
	f("CORRAL_listen=a", "CORRAL_listen: unknown variable\nDid you mean CORRAL_LISTEN? Otherwise unset it.")
	f("CORRAL_MAX_BODY=1", "CORRAL_MAX_BODY: unknown variable\nDid you mean CORRAL_QUEUE_MAX_BODY? Otherwise unset it.")
	f("CORRAL_LISTEN=5", "CORRAL_LISTEN: \"5\": not host:port\nWrite host:port, such as 127.0.0.1:11435, or :11435 for every address of this machine.")
	f("CORRAL_QUEUE_MAX_BYTES=lots", "CORRAL_QUEUE_MAX_BYTES: \"lots\": not a size\nWrite a number of bytes or a size such as 64KiB, 10MB or 1GiB.")
	f("CORRAL_QUEUE_MAX_WAITING=-1", "CORRAL_QUEUE_MAX_WAITING: \"-1\" is not a whole number from 1 to 10000000\nWrite such a number, or leave it out for the default.")
	f("CORRAL_HOSTS=a,b:1", "CORRAL_HOSTS: entry 2: \"b:1\" is not a host name\nWrite the name alone, without scheme, port and path: gateway.example.com.")
	f("CORRAL_INSTANCES=a,ftp://b", "CORRAL_INSTANCES: entry 2: the URL's scheme is neither http nor https\nWrite it like http://10.0.0.5:11434.")
	f("CORRAL_INSTANCES=a,http://a:11434", "CORRAL_INSTANCES: entry 2: http://a:11434 is instance a:11434 already\nKeep one of them; its slots would be counted twice.")
	f("CORRAL_INSTANCES=x=a,x=b", "CORRAL_INSTANCES: entry 2: another instance is named \"x\" already\nGive each instance a name of its own.")
	f("CORRAL_INSTANCES=http://u:S3cr3t@a", "CORRAL_INSTANCES: entry 1: the URL holds a user or password\nUse headers instead: headers: {Authorization: \"file:NAME\"} with \"Basic …\" or \"Bearer …\" in the file.")
	f("CORRAL_INSTANCES=localhost:11435", "CORRAL_INSTANCES: entry 1: points at Corral itself (127.0.0.1:11435)\nName the Ollama's own address, for example http://127.0.0.1:11434, or let Corral listen elsewhere.")
	f("OLLAMA_HOST=0.0.0.0:11435", "OLLAMA_HOST: points at Corral itself (127.0.0.1:11435)\nStart serve with OLLAMA_HOST unset, or with CORRAL_INSTANCES=http://127.0.0.1:11434.")
	f("CORRAL_LISTEN=:11434", "instances: none is named, and the default, 127.0.0.1:11434, is where Corral itself listens\nName the Ollama's own address, for example CORRAL_INSTANCES=http://127.0.0.1:11436.")
	f("OLLAMA_HOST=http://u:S3cr3t@h:x", "OLLAMA_HOST: the URL holds a user or password\nUse headers instead: headers: {Authorization: \"file:NAME\"} with \"Basic …\" or \"Bearer …\" in the file.")
}

func TestForeignVariables(t *testing.T) {
	t.Chdir(t.TempDir())
	_, err := Load(Options{Env: []string{"CORRAL_OLLAMA=x", "CORRAL_CACHE=x", "CORRAL_ENGINE_HOST=x", "CORRAL_TEST_LISTEN=x", "CORRAL_DATA=x",
		"CORRAL_PORT=tcp://10.0.0.1:1", "CORRAL_PORT_11435_TCP=x", "CORRAL_SERVICE_HOST=x", "CORRAL_WHATEVER=x", "CORRALS=x", "=C:=x", "odd"}})
	if err != nil {
		t.Error(err)
	}
}

// The results of Ollama's envconfig.ConnectableHost.
func TestOllamaHost(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		t.Chdir(t.TempDir())
		c, err := Load(Options{Env: []string{"OLLAMA_HOST=" + text}, Flags: Flags{Listen: "127.0.0.1:1"}})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Instances[0].URL.String(); got != want || !c.Discovered || c.Instances[0].Name != c.Instances[0].URL.Host {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
	f("", "http://127.0.0.1:11434")
	f("1.2.3.4", "http://1.2.3.4:11434")
	f("1.2.3.4:5", "http://1.2.3.4:5")
	f(":1234", "http://127.0.0.1:1234")
	f("0.0.0.0", "http://127.0.0.1:11434")
	f("[::]:77", "http://[::1]:77")
	f("::1", "http://[::1]:11434")
	f("example.com:", "http://example.com:11434")
	f("example.com:66000", "http://example.com:11434")
	f("[::1]:66000", "http://[::1]:11434")
	f(" 'example.com/ollama' ", "http://example.com:11434/ollama")
	f("http://example.com", "http://example.com:80")
	f("https://example.com", "https://example.com:443")
	f("https://example.com:x/", "https://example.com:443")
	f("ollama.com", "https://ollama.com:443")
	f("http://", "http://127.0.0.1:80")
}

func TestPointsAt(t *testing.T) {
	f := func(instance, listen string, want bool) {
		t.Helper()
		u, p := parseURL(instance)
		if p != nil {
			t.Fatal(p)
		}
		if got := pointsAt(u, listen, addrs(t, "10.0.0.9")); got != want {
			t.Errorf("%s at %s: got %v", instance, listen, got)
		}
	}
	f("127.0.0.1:5", "127.0.0.1:5", true)
	f("127.0.0.1:6", "127.0.0.1:5", false)
	f("localhost:5", "127.0.0.1:5", true)
	f("localhost:5", "[::1]:5", true)
	f("localhost:5", "127.0.0.2:5", false)
	f("127.0.0.1:5", "localhost:5", true)
	f("127.0.0.1:5", "0.0.0.0:5", true)
	f("127.0.0.3:5", ":5", true)
	f("10.0.0.9:5", "[::]:5", true)
	f("10.0.0.8:5", ":5", false)
	f("[::ffff:127.0.0.1]:5", "127.0.0.1:5", true)
	f("gateway:5", "Gateway:5", true)
	f("gateway:5", ":5", false)
	f("0.0.0.0:5", "127.0.0.1:5", true)
}
