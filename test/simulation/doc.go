// Package simulation runs the consumer's pipeline, several instances of it, against an embedded
// broker in virtual time, under a schedule of faults that a seed decides (faults_test.go). After
// each schedule it judges from the broker's committed records alone whether the guarantees were
// kept (check_test.go, history_test.go).
//
//	go test -tags synctests ./test/simulation
//	SEEDS=100000 go test -tags synctests -timeout 0 ./test/simulation
//	SIMULATE_FROM=5000 SEEDS=500 go test -tags synctests -failfast ./test/simulation
//	SIMULATE_SEED=17 SIMULATE_TIMES=50 go test -tags synctests ./test/simulation -run TestSchedules
//
// The schedule follows from the seed, the order in which goroutines run does not: a seed that
// has failed once may pass the next time, so run it many times.
package simulation
