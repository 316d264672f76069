// Package ollamatest stands in for Ollama in tests, demos and simulations.
//
// One timing model of an inference engine, Engine, is used three ways:
//
//   - Server is an Ollama over HTTP in the same process. Its timers are plain time.Timers, so inside a
//     testing/synctest bubble its time is virtual (Net gives it an in-memory network).
//   - llama-server, the program in the folder of that name, is started by a real Ollama as its engine;
//     StartOllama starts such an Ollama.
//   - A discrete-event simulator drives Engine directly: it is pure and takes the time as an argument.
//
// What a request costs can be said in its prompt, see ParseDirectives. Everything is deterministic: the same
// prompts at the same times give the same tokens at the same times.
package ollamatest
