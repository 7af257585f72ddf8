# To begin, make run and make test are enough; make help lists the rest.

PREFIX   ?= /usr
BIN      ?= bin
GO       ?= go
SOAKTIME ?= 10m
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

export CGO_ENABLED = 0

.PHONY: build completions install-files release deb run test test-guest test-systemd soak lint fuzz bench install clean help

LDFLAGS = -X main.version=$(VERSION)
release install: LDFLAGS += -s -w
build:
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/ipmbd ./cmd/ipmbctl

# The same for all processors, and printed by the program itself: by one built for this machine.
completions:
	@mkdir -p $(BIN)/completion
	@for shell in bash zsh fish; do \
		env -u GOOS -u GOARCH -u GOARM $(GO) run ./cmd/ipmbctl completion $$shell >$(BIN)/completion/$$shell || exit; \
	done

# AST2600 is armv7; AST2400 and AST2500 are armv5 without floating point.
DISTS = dist/amd64 dist/arm64 dist/armv7 dist/armv5
release: $(DISTS)
dist/amd64: export GOARCH = amd64
dist/arm64: export GOARCH = arm64
dist/armv7 dist/armv5: export GOARCH = arm
dist/armv7: export GOARM = 7
dist/armv5: export GOARM = 5,softfloat
.PHONY: $(DISTS)
$(DISTS):
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@/ ./cmd/ipmbd ./cmd/ipmbctl
	@size=$$(stat -c %s $@/ipmbd); packed=$$(xz -9 -c $@/ipmbd | wc -c); echo "$@/ipmbd: $$size bytes, $$packed with xz"

run:
	@tools/deps run
	@$(MAKE) --no-print-directory build
	@ONCE=$(ONCE) tools/tour

test:
	@tools/deps test
	@tools/test

test-guest:
	@tools/deps emulate
	@tools/test arm1176
	@test/guest/run
	@test/guest/x86/run

soak:
	@tools/deps test
	@IPMBD_KILLS=1000 go test -v -count=1 -timeout 60m -run '^TestKilledWriter$$' ./bmc
	@ORDER_BURSTS=10000 WIRE_REQUESTS=20000 go test -v -count=1 -timeout 60m \
		-run '^(TestOrder|TestDoubledAnswersReachNoOtherCall|TestRequestsRunOnceOnALossyWire)$$' ./test/e2e
	@IPMBD_SOAK=$(SOAKTIME) go test -v -count=1 -timeout 0 -run '^TestSoak$$' ./test/e2e

test-systemd:
	@tools/deps lab
	@test/systemd/run

lint:
	@tools/lint

fuzz:
	@tools/test fuzz

bench: build
	@tools/deps test
	@$(GO) run ./test/bench $(if $(BEFORE),-before "$(BEFORE)") -broker "$$(test/systemd/build)/usr/bin/dbus-broker" -guest "$$(test/guest/x86/build)"

install: build completions
	@$(MAKE) --no-print-directory install-files

# What build and completions have made, and the files beside it.
install-files:
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/bin $(BIN)/ipmbd $(BIN)/ipmbctl
	sed 's,/usr/bin/,$(PREFIX)/bin/,g' units/ipmbd.service | install -D -m 644 /dev/stdin $(DESTDIR)$(PREFIX)/lib/systemd/system/ipmbd.service
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/lib/systemd/system units/ipmbd.socket units/ipmbd-vm@.socket
	install -D -m 644 units/sysusers.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d/ipmbd.conf
	install -D -m 644 units/tmpfiles.conf $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/ipmbd.conf
	install -D -m 644 units/ipmbd.rules $(DESTDIR)$(PREFIX)/lib/udev/rules.d/60-ipmbd.rules
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/dbus-1/system-services units/xyz.openbmc_project.Ipmi.Channel.Ipmb.service
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/dbus-1/system.d units/xyz.openbmc_project.Ipmi.Channel.Ipmb.conf
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/ipmbd packaging/ipmbd.schema.json
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man1 packaging/man/ipmbctl.1
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man5 packaging/man/ipmbd.json.5
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man8 packaging/man/ipmbd.8
	install -D -m 644 $(BIN)/completion/bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/ipmbctl
	install -D -m 644 $(BIN)/completion/zsh $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_ipmbctl
	install -D -m 644 $(BIN)/completion/fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/ipmbctl.fish

# In dist: ipmbd_VERSION_ARCH.deb
ARCHS ?= amd64 arm64 armhf
deb:
	@packaging/deb $(ARCHS)

clean:
	rm -rf bin dist

help:
	@echo 'make run        build, and serve two simulated buses with a short tour (ONCE=1: end after it)'
	@echo 'make test       all tests, and each fuzz target for a second'
	@echo 'make test-guest tests on the kernel'\''s own drivers, in an emulated AST2600, and with virtual machines as hosts'
	@echo 'make soak       1,000 kills of a BMC that writes its log; 10,000 bursts in order; 20,000 requests on lossy wires;'
	@echo '                SOAKTIME=10m of everything breaking at once'
	@echo 'make test-systemd tests under a real systemd with a real system bus; needs root'
	@echo 'make lint       gofmt, go vet, staticcheck and the rules of internal/imports'
	@echo 'make fuzz       each fuzz target for FUZZTIME=5s, guided by the code that it reaches'
	@echo 'make bench      speed and order beside bare D-Bus services in Go and C, and of virtual machines beside ipmi_sim;'
	@echo '                ten minutes; BEFORE=PROGRAM is another build of ipmbd to compare with'
	@echo 'make build      bin/ipmbd and bin/ipmbctl'
	@echo 'make release    dist/: amd64, arm64, armv7 (AST2600), armv5 (AST2400, AST2500), without symbols'
	@echo 'make deb        dist/: packages of Debian for ARCHS="amd64 arm64 armhf"'
	@echo 'make install    into DESTDIR= and PREFIX=/usr'
	@echo 'make clean      remove bin and dist'
