//go:build unix

package ollamatest

import (
	"errors"
	"os/exec"
	"syscall"
)

// ownGroup makes the child the head of a process group: Ollama leaves its engines behind when it is killed.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// killGroup kills the child and all that it started.
func killGroup(cmd *exec.Cmd) error {
	err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		return nil // all of them ended already
	}
	return err
}
