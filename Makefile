# Every target is one command that you could type as well.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

.DEFAULT_GOAL := help
.PHONY: help build test race lint fmt licences ci demo kafka simulate fuzz soak mutants bench profile up down

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "make %-8s %s\n", $$1, $$2 }'

build: ## build bin/orderflow, a static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w -X main.buildVersion=$(VERSION)" -o bin/orderflow ./cmd/orderflow

test: ## run the tests that need Go alone
	$(GO) test ./...

race: ## the same with the race detector
	$(GO) test -race ./...

lint: ## gofmt, go vet, staticcheck, and the pipelines' own linter
	@test -z "$$(gofmt -l .)" || { gofmt -d .; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) run ./cmd/orderflow lint --deprecated config/pipelines/*.yaml

fmt: ## format the code
	gofmt -w .

licences: ## check the licences of what is linked, write THIRD_PARTY_NOTICES and sbom.cdx.json
	$(GO) run ./test/licences -write

ci: ## all that CI runs (Debian packages are installed with apt-get)
	bash .ci/run

demo: ## run the whole system on an embedded broker
	$(GO) run ./cmd/orderflow demo

kafka: ## run the tests against Apache Kafka and with other clients (needs a JDK 17, Maven, Python 3, kcat)
	ORDERFLOW_KAFKA=1 $(GO) test -count=1 -v ./test/kafka/... ./test/clients/...

simulate: ## play SEEDS schedules of faults in virtual time (5000)
	SEEDS=$(or $(SEEDS),5000) $(GO) test -tags synctests -count=1 -timeout 0 -v -run '^TestSchedules$$' ./test/simulation

fuzz: ## fuzz each target for FUZZTIME (5s)
	FUZZTIME=$(or $(FUZZTIME),5s) bash .ci/run fuzz

soak: ## load and random faults for SOAK (1h) on Apache Kafka, what it takes must stay level
	ORDERFLOW_KAFKA=1 SOAK=$(or $(SOAK),1h) $(GO) test -count=1 -timeout 0 -v ./test/soak

mutants: ## break the rules of the product and see that the tests find each
	ORDERFLOW_MUTATIONS=1 $(GO) test -count=1 -timeout 30m -v ./test/mutation

bench: ## run the benchmarks of the hot paths
	$(GO) test -run '^$$' -bench . -benchmem ./internal/... ./plugins/...

profile: ## renew the profile that the binary is optimised by (cmd/orderflow/default.pgo)
	ORDERFLOW_PROFILE=1 $(GO) test -count=1 -v ./test/bench -run TestProfile

up: ## start the system in Docker, with Console, Prometheus and Grafana
	docker compose up --build --detach

down: ## stop it and forget its data
	docker compose down --volumes
