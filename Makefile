# Thin: meson and ninja do the work. `make` leaves the program at build/umbra.
BUILD ?= build
FROM ?= /etc
TO ?= /var/tmp/umbra-demo
PATH := $(PATH):/usr/sbin:/sbin
export PATH

.PHONY: all deps check check-long bench backup install uninstall clean
all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)

$(BUILD)/build.ninja: | deps
	@meson setup $(BUILD)

# Installs the Debian packages that are missing; does nothing when none is.
deps:
	@tools/install-dependencies build

# All tests, twice: plain, and under ASan and UBSan.
check:
	@tests/check

check-long:
	@tests/check --long

# Each figure as a ratio measured in this run, into bench/RESULTS.md.
bench: all
	@tools/install-dependencies test
	@UMBRA_BUILD=$(abspath $(BUILD)) bench/run

# The main job on real files: make backup FROM=/etc TO=/var/tmp/umbra-demo
backup: all
	@UMBRA_BUILD=$(abspath $(BUILD)) tools/demo-backup $(FROM) $(TO)

install: all
	@meson install -C $(BUILD) --no-rebuild

uninstall:
	@ninja -C $(BUILD) uninstall

clean:
	rm -rf $(BUILD) build-clang build-asan
