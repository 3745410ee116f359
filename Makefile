# Thin: meson and ninja do the work. `make` leaves the program at build/umbra.
BUILD ?= build
PATH := $(PATH):/usr/sbin:/sbin

.PHONY: all deps check check-long bench backup install clean
all: $(BUILD)/build.ninja
	ninja -C $(BUILD)

$(BUILD)/build.ninja: | deps
	meson setup $(BUILD)

# Installs the Debian packages that are missing; does nothing when none is.
deps:
	tools/install-dependencies build

clean:
	rm -rf $(BUILD) build-clang build-asan
