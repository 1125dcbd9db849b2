# What is done with this checkout. `make test` needs Go and make alone; `make help` lists the rest.

GO        ?= go
FUZZTIME  ?= 10s
RACEFLAGS ?= -timeout 20m
E2ETIMEOUT ?= 40m
ROUNDS    ?= 3

STATICCHECK = $(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The compiler follows cmd/triglot/default.pgo, a profile of the program under load, which makes the first build take minutes.
.PHONY: build
build: ## build bin/triglot
	$(GO) build -o bin/triglot ./cmd/triglot

.PHONY: test
test: unit bench-test e2e kubernetes ## run every test

# Tests of packages do without the profile, or else everything would be built twice.
.PHONY: unit
unit: ## run the tests of the packages
	$(GO) test -pgo=off -timeout 15m ./...

.PHONY: bench-test
bench-test: ## run the tests of the tool that compares
	cd bench && $(GO) test ./...

# The end-to-end tests run a program that they build themselves, which the test cache knows nothing of: hence -count=1.
.PHONY: e2e
e2e: ## run the built program with the clients of the three protocols
	@for p in redis-server redis-cli etcdctl java zkCli.sh; do \
		PATH="$$PATH:/usr/share/zookeeper/bin" command -v $$p >/dev/null || \
		echo "note: $$p is not installed: the tests that need it are skipped"; \
	done
	cd e2e && $(GO) test -count=1 -timeout $(E2ETIMEOUT) ./...

.PHONY: kubernetes
kubernetes: ## run the storage layer of Kubernetes on the built program
	cd e2e/kubernetes && $(GO) test -count=1 -timeout 15m ./...

# Races are in what runs at the same time: random runs that only try more of the same are short here. The packages that
# take longest come first, so that no processor waits for one of them at the end.
.PHONY: race
race: ## run the tests of the packages under the race detector (needs a C compiler)
	TRIGLOT_SIM_RUNS=$${TRIGLOT_SIM_RUNS:-40} $(GO) test -pgo=off -race -short $(RACEFLAGS) ./storage/... ./core/... ./raftlog/... ./cmd/... ./protocols/... ./resp/... ./grpcsvc/... ./zkcompat/...

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (10s)
	@GO="$(GO)" .ci/fuzz "$(FUZZTIME)"

.PHONY: bench
bench: ## run every benchmark once, to see that it runs
	$(GO) test -pgo=off -run '^$$' -bench . -benchtime 1x ./...

.PHONY: bench-tool
bench-tool: ## build bench/bin/bench, the tool that compares, and bench/bin/etcd, to compare with
	cd bench && $(GO) build -o bin/bench .
	cd bench/tools && $(GO) build -o ../bin/etcd go.etcd.io/etcd/server/v3

.PHONY: profile
profile: build bench-tool ## write cmd/triglot/default.pgo again, the profile that the compiler follows (5 minutes)
	cd bench && bin/bench profile

# Needs redis-server, java and ZooKeeper as well: see bench/README.md.
.PHONY: compare
compare: build bench-tool ## measure side by side with etcd, Redis and ZooKeeper, ROUNDS (3) times 15 minutes
	ROUNDS="$(ROUNDS)" bench/run

.PHONY: lint
lint: ## gofmt, vet and staticcheck, in every module
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "gofmt -w these:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	cd e2e && $(GO) vet ./...
	cd e2e/kubernetes && $(GO) vet ./...
	cd bench && $(GO) vet ./...
	$(STATICCHECK) ./...
	cd e2e && $(STATICCHECK) ./...
	cd e2e/kubernetes && $(STATICCHECK) ./...
	cd bench && $(STATICCHECK) ./...

.PHONY: generate
generate: ## write the Go code of the definitions again (needs protoc)
	GOBIN=$(CURDIR)/bin $(GO) install google.golang.org/protobuf/cmd/protoc-gen-go
	GOBIN=$(CURDIR)/bin $(GO) install github.com/planetscale/vtprotobuf/cmd/protoc-gen-go-vtproto
	GOBIN=$(CURDIR)/bin $(GO) install google.golang.org/grpc/cmd/protoc-gen-go-grpc
	GOBIN=$(CURDIR)/bin $(GO) install github.com/grpc-ecosystem/grpc-gateway/v2/protoc-gen-grpc-gateway
	cd core/corepb && PATH="$(CURDIR)/bin:$$PATH" protoc -I . \
		--go_out=. --go_opt=paths=source_relative \
		--go-vtproto_out=. --go-vtproto_opt=paths=source_relative,features=marshal+unmarshal+unmarshal_unsafe+size \
		command.proto peer.proto
	PATH="$(CURDIR)/bin:$$PATH" protoc -I . -I "$$($(GO) list -m -f '{{.Dir}}' go.etcd.io/raft/v3)/raftpb" \
		--go_out=. --go_opt=paths=source_relative raftlog/transport/peerpb/peer.proto
	$(GO) run ./grpcsvc/internal/protoimports bin/imports.binpb
	cd grpcsvc && PATH="$(CURDIR)/bin:$$PATH" protoc -I . --descriptor_set_in="$(CURDIR)/bin/imports.binpb" \
		--go_out=. --go_opt=paths=source_relative \
		--go-grpc_out=. --go-grpc_opt=paths=source_relative \
		--grpc-gateway_out=. --grpc-gateway_opt=paths=source_relative \
		lockpb/lock.proto electionpb/election.proto

.PHONY: clean
clean: ## remove what was built
	rm -rf bin bench/bin
