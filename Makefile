# make demo   build, install and compress real embeddings beside FAISS
# make test   build, install and run the test suite
# Each creates its own virtual environment and resumes when run again. More: make help

PYTHON ?= python3
ARM_CXX ?= aarch64-linux-gnu-g++
ARM_RUN ?= qemu-aarch64
SOURCES := CMakeLists.txt pyproject.toml README.md $(shell find cpp python -type f -not -name '*.pyc')
# The system's CMake, or PyPI's in the environment that needs it.
CMAKE = $(or $(shell command -v cmake),.venv-lint/bin/cmake)
CTEST = $(or $(shell command -v ctest),.venv-test/bin/ctest)
PIP = bin/python -m pip install --disable-pip-version-check --quiet

# The tests run in one process per core, so each process gets one thread.
TEST_ENV = OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1
WORKERS ?= auto
PYTEST = .venv-test/bin/python -m pytest tests --numprocesses=$(WORKERS) --dist=worksteal

.PHONY: help demo test test-slow test-gpu lint site notebooks sanitize sanitize-checks checks fuzz format-compiler \
	format-reader coverage kernels-arm checks-windows bench bench-accuracy bench-peers wheel \
	wheel-manylinux wheel-twice clean
.DELETE_ON_ERROR:
.SECONDARY:

help:
	@echo "make demo      compress the sample in tests/samples beside FAISS and print a table"
	@echo "make test      the C++ checks and the Python tests, except those marked slow"
	@echo "make test-slow the tests marked slow: millions of rows, slow training"
	@echo "make test-gpu  the tests of CUDA on the GPU of this machine, in this machine's Python"
	@echo "make lint      ruff, mypy, import-linter, codespell, hadolint, clang-format and clang-tidy; changes nothing"
	@echo "make site      the documentation as a site in build/site, with the reference; fails on a broken link"
	@echo "make notebooks run docs/notebooks and keep what they show"
	@echo "make sanitize  the tests under AddressSanitizer and UndefinedBehaviorSanitizer"
	@echo "make sanitize-checks  the C++ tests under sanitizers, that of threads included"
	@echo "make checks    the tests that are C++ alone, on every instruction set that this machine runs"
	@echo "make fuzz      guided fuzzing of the readers of files under the sanitizers, FUZZ_SECONDS=60"
	@echo "make coverage  lines of the readers of files that tests and fuzzing run; fails below 95 %"
	@echo "make format-reader  compile cpp/format.ksy to the second reader of files, with npm"
	@echo "make kernels-arm  the same cross-built for ARM, under QEMU"
	@echo "make checks-windows  the C++ tests cross-built for Windows, under Wine"
	@echo "make bench     speed beside FAISS, with a table of ratios"
	@echo "make bench-accuracy  recall beside FAISS: a table and a picture"
	@echo "make bench-peers  queries a second against recall, all peers: hours; PEERS='--sets minilm-50k'"
	@echo "make wheel     a wheel in dist/"
	@echo "make wheel-manylinux  the same for glibc 2.28 and later, by Zig's Clang and auditwheel"
	@echo "make wheel-twice  the last commit built twice; fails if the wheels differ by a bit"
	@echo "make clean     remove virtual environments and build output"

demo: .venv-demo/installed
	.venv-demo/bin/python examples/demo.py

# WATERFILL_REQUIRE_STORES: fail instead of skipping where a vector store is missing.
test: .venv-test/installed .venv-test/stores
	$(CTEST) --test-dir build/test --output-on-failure
	$(TEST_ENV) WATERFILL_REQUIRE_STORES=1 $(PYTEST) -m "not slow"

test-slow: .venv-test/installed .venv-test/stores
	$(TEST_ENV) WATERFILL_REQUIRE_STORES=1 $(PYTEST) -m slow

# With the packages of the machine, which has torch and CuPy: bench/gpu.py installs waterfill there. What these
# packages warn of is no failure.
test-gpu:
	WATERFILL_TEST_GPU=1 $(PYTHON) -m pytest tests/gpu -m "not slow" -W default --numprocesses=$(WORKERS)

lint: .venv-lint/ready
	.venv-lint/bin/ruff check .
	.venv-lint/bin/ruff format --check .
	.venv-lint/bin/mypy
	PYTHONPATH=python .venv-lint/bin/lint-imports
	.venv-lint/bin/codespell
	.venv-lint/bin/hadolint examples/container/Dockerfile
	$(CMAKE) -S . -B build/lint -DSKBUILD=2 -DPYTHON_EXECUTABLE=$(CURDIR)/.venv-lint/bin/python \
		-Dpybind11_DIR=$$(.venv-lint/bin/python -m pybind11 --cmakedir) > /dev/null
	find cpp/src cpp/bindings cpp/kernels -name '*.cpp' -not -name '*neon*' -not -name '*_arm.cpp' \
		-not -name '*_windows.cpp' | \
		xargs -P 2 -n 4 .venv-lint/bin/clang-tidy -p build/lint --quiet
	.venv-lint/bin/clang-format --dry-run --Werror $$(find cpp -name '*.cpp' -o -name '*.hpp' -o -name '*.cu')

# In the environment of the tests, as the reference imports the hosts of the integrations.
site: .venv-test/installed .venv-test/stores .venv-test/site
	.venv-test/bin/python docs/site_pages.py build/site-pages
	.venv-test/bin/python -m sphinx --quiet --fail-on-warning build/site-pages build/site
	@echo "the site: build/site/index.html"

# Runs the notebooks and keeps what they show.
notebooks: .venv-test/installed .venv-test/stores .venv-test/site
	cd docs/notebooks && PATH="$(CURDIR)/.venv-test/bin:$$PATH" jupyter execute --inplace *.ipynb

bench: .venv-bench/installed
	.venv-bench/bin/python -m pytest bench --benchmark-json=.venv-bench/results.json
	.venv-bench/bin/python bench/ratios.py .venv-bench/results.json

# Results are kept: the peers are measured once, waterfill each time.
bench-accuracy: .venv-bench/installed
	.venv-bench/bin/python bench/accuracy.py $(ACCURACY) --again waterfill \
		--keep .venv-bench/accuracy.json --picture .venv-bench/accuracy.png
	@echo "the picture: .venv-bench/accuracy.png"

# Results are kept: a second call measures what is missing. PEERS="--again waterfill --retime" sweeps
# waterfill again and times everything in one run.
bench-peers: .venv-peers/installed .venv-peers/peers
	.venv-peers/bin/python bench/peers.py --fill-threads $$(nproc) --keep .venv-peers/peers.json \
		--store .venv-peers/indices --picture .venv-peers/peers.png $(PEERS)
	@echo "the picture: .venv-peers/peers.png"

# The sanitizer's run-time library must come before Python, and libstdc++ with it, or exceptions
# are not intercepted. Leaks are Python's own business.
sanitize: .venv-sanitize/installed
	LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libstdc++.so)" \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 HYPOTHESIS_PROFILE=quick \
	WATERFILL_SANITIZE_KERNELS=1 \
	.venv-sanitize/bin/python -m pytest tests -m "not memory"

# The C++ tests under all sanitizers, in two builds: those of memory and of threads exclude each other.
sanitize-checks: .venv-lint/ready
	for kind in SANITIZE SANITIZE_THREADS; do \
		build=build/checks-$$(echo $$kind | tr A-Z_ a-z-) && \
		$(CMAKE) -S . -B $$build -DCMAKE_BUILD_TYPE=RelWithDebInfo -DWATERFILL_BUILD_CHECKS=ON \
			-DWATERFILL_$$kind=ON > /dev/null && \
		$(CMAKE) --build $$build --parallel 2 && \
		$(dir $(CMAKE))ctest --test-dir $$build --output-on-failure || exit 1; \
	done

checks:
	cmake -S . -B build/checks -DWATERFILL_BUILD_CHECKS=ON -DWATERFILL_BUILD_FUZZERS=ON
	cmake --build build/checks --target kernel_check core_check fuzz_file fuzz_segment fuzz_folder
	ctest --test-dir build/checks --output-on-failure

# The input that runs is in build/fuzz/findings/last.wf: after a failure, the one that caused it.
FUZZ_SECONDS ?= 60
fuzz: .venv-lint/ready
	$(CMAKE) -S . -B build/fuzz -DWATERFILL_BUILD_FUZZERS=ON -DWATERFILL_SANITIZE=ON -DWATERFILL_HAS_LIBFUZZER=OFF
	$(CMAKE) --build build/fuzz --parallel 2 --target fuzz_file fuzz_segment fuzz_folder
	mkdir -p build/fuzz/findings
	build/fuzz/fuzz_file tests/golden/*.wf tests/golden/must_reject/*.wf
	build/fuzz/fuzz_segment cpp/fuzz/seeds/*.wf
	build/fuzz/fuzz_folder tests/golden/folder/*.wf tests/golden/must_reject/*.wf
	build/fuzz/fuzz_file $(FUZZ_SECONDS) tests/golden build/fuzz/findings
	build/fuzz/fuzz_file $(FUZZ_SECONDS) tests/golden/graph build/fuzz/findings
	build/fuzz/fuzz_segment $(FUZZ_SECONDS) cpp/fuzz/seeds build/fuzz/findings
	build/fuzz/fuzz_folder $(FUZZ_SECONDS) tests/golden/folder build/fuzz/findings

# Lines of cpp/src/file that run, in a build that counts them. Fuzzing is short here: it adds to tests.
COVERAGE_TESTS ?= tests/test_io.py tests/test_golden.py tests/test_must_reject.py tests/test_mapped_damage.py \
	tests/format tests/folder tests/core/test_folder_files.py tests/core/test_write_ahead_log.py \
	tests/core/test_interruption.py tests/index/test_mapped.py tests/index/test_parts.py \
	tests/index/test_refine_rows.py
coverage: .venv-test/installed .venv-lint/ready
	$(CMAKE) -S . -B build/coverage -DSKBUILD=2 -DWATERFILL_COVERAGE=ON -DWATERFILL_BUILD_FUZZERS=ON \
		-DPYTHON_EXECUTABLE=$(CURDIR)/.venv-test/bin/python \
		-Dpybind11_DIR=$$(.venv-lint/bin/python -m pybind11 --cmakedir) > /dev/null
	$(CMAKE) --build build/coverage --parallel 2 --target _core fuzz_file fuzz_segment fuzz_folder
	find build/coverage -name '*.gcda' -delete
	cp -r python build/coverage && cp build/coverage/_core*.so build/coverage/python/waterfill
	build/coverage/fuzz_file tests/golden/*.wf tests/golden/must_reject/*.wf
	build/coverage/fuzz_file 20 tests/golden
	build/coverage/fuzz_file 20 tests/golden/graph
	build/coverage/fuzz_segment 20 cpp/fuzz/seeds
	build/coverage/fuzz_folder 20 tests/golden/folder
	$(TEST_ENV) PYTHONPATH=$(CURDIR)/build/coverage/python \
		.venv-test/bin/python -m pytest -m "not slow" $(COVERAGE_TESTS)
	.venv-lint/bin/gcovr --root . --filter cpp/src/file/ --fail-under-line 95 build/coverage

# The compiler is JavaScript; its result is kept in the repository, so that the tests need no Node.
KAITAI = build/kaitai-struct/node_modules/kaitai-struct-compiler
$(KAITAI):
	npm install --silent --no-save --prefix build/kaitai-struct kaitai-struct-compiler@0.11.0

format-compiler: $(KAITAI)

format-reader: .venv-test/ready $(KAITAI)
	.venv-test/bin/python tests/support/format_compiler.py build/kaitai-struct

kernels-arm:
	@for tool in cmake $(ARM_CXX) $(ARM_RUN); do command -v $$tool > /dev/null || \
		{ echo "$$tool is missing; Debian has it: cmake g++-aarch64-linux-gnu qemu-user"; exit 1; }; done
	cmake -S . -B build/arm -DWATERFILL_BUILD_CHECKS=ON -DCMAKE_CXX_COMPILER=$(ARM_CXX) \
		-DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_EXE_LINKER_FLAGS=-static \
		-DCMAKE_CROSSCOMPILING_EMULATOR=$(ARM_RUN)
	cmake --build build/arm --target kernel_check core_check
	ctest --test-dir build/arm --output-on-failure

wheel:
	$(PYTHON) -m pip wheel --disable-pip-version-check --no-deps --wheel-dir dist .

# For glibc 2.28 and later, on whichever Linux this runs; auditwheel fails if a symbol is newer. The unwinder is that
# of the system: Python ends threads by unwinding them, which crashes where a second unwinder meets frames of the first.
# -idirafter: Debian's Python includes a header of its own by its path in /usr/include.
wheel-manylinux: .venv-wheel/ready
	rm -rf build/manylinux && mkdir -p build/manylinux
	printf '#!/bin/sh\nexec "%s" c++ -target %s-linux-gnu.2.28 -idirafter /usr/include "$$@"\n' \
		"$$(.venv-wheel/bin/python -c 'import ziglang; print(ziglang.__path__[0])')/zig" $$(uname -m) \
		> build/manylinux/c++
	chmod +x build/manylinux/c++
	CXX=$(CURDIR)/build/manylinux/c++ .venv-wheel/bin/python -m pip wheel --disable-pip-version-check \
		--no-deps --wheel-dir build/manylinux --config-settings=build-dir=build/manylinux/objects \
		--config-settings=cmake.define.CMAKE_MODULE_LINKER_FLAGS="$$(g++ -print-file-name=libgcc_s.so.1)" .
	PATH="$(CURDIR)/.venv-wheel/bin:$$PATH" .venv-wheel/bin/auditwheel repair --wheel-dir dist \
		--plat manylinux_2_28_$$(uname -m) build/manylinux/*.whl

# In two folders, from a clean copy of the last commit each.
wheel-twice:
	rm -rf build/twice && mkdir -p build/twice
	for copy in first second; do \
		git clone --quiet . build/twice/$$copy && \
		SOURCE_DATE_EPOCH=315532800 $(PYTHON) -m pip wheel --disable-pip-version-check --quiet --no-deps \
			--wheel-dir build/twice/$$copy/dist build/twice/$$copy || exit 1; \
	done
	cd build/twice && sha256sum first/dist/*.whl && cmp first/dist/*.whl second/dist/*.whl

# The C++ tests as Windows runs them: cross-built, under Wine.
checks-windows:
	@for tool in cmake x86_64-w64-mingw32-g++-posix wine; do command -v $$tool > /dev/null || \
		{ echo "$$tool is missing; Debian has it: cmake g++-mingw-w64-x86-64-posix wine64"; exit 1; }; done
	cmake -S . -B build/windows -DWATERFILL_BUILD_CHECKS=ON -DCMAKE_SYSTEM_NAME=Windows \
		-DCMAKE_SYSTEM_PROCESSOR=x86_64 -DCMAKE_CXX_COMPILER=x86_64-w64-mingw32-g++-posix \
		-DCMAKE_CROSSCOMPILING_EMULATOR=wine
	cmake --build build/windows --target kernel_check core_check
	WINEDEBUG=-all ctest --test-dir build/windows --output-on-failure

clean:
	rm -rf .venv-demo .venv-test .venv-lint .venv-bench .venv-peers .venv-sanitize .venv-wheel build dist

# An environment is `ready` with its requirements and `installed` with the package as it stands.

.venv-%/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "waterfill needs Python 3.10 or later; call make PYTHON=/path/to/python3"; exit 1; }
	@echo "== creating the virtual environment .venv-$*"
	$(PYTHON) -m venv .venv-$*
	touch $@

.venv-demo/ready: examples/requirements.txt
.venv-test/ready .venv-sanitize/ready: tests/requirements.txt
.venv-lint/ready: .ci/requirements.txt
.venv-wheel/ready: .ci/requirements-wheel.txt
.venv-bench/ready: bench/requirements.txt
.venv-peers/ready: bench/requirements.txt bench/requirements-datasets.txt

.venv-%/ready: .venv-%/created
	@echo "== installing what $* needs"
	.venv-$*/$(PIP) $(addprefix -r ,$(filter %.txt,$^))
	@command -v cmake > /dev/null || .venv-$*/$(PIP) cmake
	touch $@

.venv-test/stores: .venv-test/ready tests/requirements-stores.txt tests/requirements-no-deps.txt
	@echo "== installing the vector stores that the tests run"
	.venv-test/$(PIP) -r tests/requirements.txt -r tests/requirements-stores.txt
	.venv-test/$(PIP) --no-deps -r tests/requirements-no-deps.txt
	touch $@

.venv-test/site: .venv-test/ready docs/requirements.txt
	@echo "== installing what the site needs"
	.venv-test/$(PIP) -r docs/requirements.txt
	touch $@

# One by one, because a peer may not build or have no wheel; the benchmark skips what is missing.
.venv-peers/peers: .venv-peers/ready bench/requirements-peers.txt
	@echo "== installing the peers of the benchmark"
	grep -v '^#' bench/requirements-peers.txt | while read -r peer; do \
		.venv-peers/$(PIP) "$$peer" || echo "not installed: $$peer"; done
	touch $@

.venv-sanitize/installed: .venv-sanitize/ready $(SOURCES)
	@echo "== building and installing waterfill with sanitizers"
	.venv-sanitize/$(PIP) --force-reinstall --no-deps --config-settings=build-dir=build/sanitize \
		--config-settings=cmake.define.WATERFILL_SANITIZE=ON --config-settings=cmake.build-type=RelWithDebInfo .
	touch $@

# One build makes the extension and the C++ checks that `make test` runs.
.venv-test/installed: .venv-test/ready $(SOURCES)
	@echo "== building and installing waterfill with its C++ checks into .venv-test"
	.venv-test/$(PIP) --force-reinstall --no-deps --config-settings=build-dir=build/test \
		--config-settings=cmake.define.WATERFILL_BUILD_CHECKS=ON --config-settings=cmake.define.WATERFILL_BUILD_FUZZERS=ON .
	.venv-test/$(PIP) "numpy>=1.24"
	touch $@

.venv-%/installed: .venv-%/ready $(SOURCES)
	@echo "== building and installing waterfill into .venv-$*"
	.venv-$*/$(PIP) --force-reinstall --no-deps .
	.venv-$*/$(PIP) "numpy>=1.24"
	touch $@
