// Package house polices the repository: who imports whom, what pure packages must not touch, how long files and
// functions grow, how tests treat time. It holds tests only; they read sources and build nothing.
package house
