# make demo    from nothing to a report: drawn scenes, masks from tags, plain and rebalanced training, scores
# make test    the test suite
# Both work on a fresh clone with Python 3.11 to 3.13 and a C++ compiler; they make .venv on the way.
# A stage whose files are there is not run again. Delete a run's folder to train it once more.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules
unexport PYTHONDONTWRITEBYTECODE
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-long check ablation second-stage wss-table rivals bench

PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/python
INSTALLED := .venv/.installed
INSTALL := $(BIN)/uv pip install --python $(RUN) --constraint constraints.txt --compile-bytecode

help:
	@echo "make setup      install into .venv (PYTHON=python3.12 chooses the interpreter)"
	@echo "make demo       data, masks, two trainings, scores and a report on drawn scenes; CPU is enough"
	@echo "make test       run the tests"
	@echo "make test-long  the tests that take a minute each, left out above"
	@echo "make check      lint, types and the limits of the code style"
	@echo "make bench      the performance table: ratios taken side by side on this machine"
	@echo "make ablation   every configs/rebalancing option on the drawn scenes, over three seeds, in one table"
	@echo "make second-stage  DeepLabv3+, Mask2Former and EoMT on the masks of the demo's DHR run, in one table"
	@echo "make wss-table  masks of all WSS methods that lie on disk, scored in one table; WSS_DATASET=voc names the data set"
	@echo "make rivals     masks, networks, second stages and open-vocabulary masks that lie on disk, in one table, published"
	@echo "                numbers beside them; RIVALS_DATASET=voc names the data set"
	@echo "make photos PHOTOS=<VOCdevkit>  the experiment on real photographs, on two CPU cores; PHOTOS_LIMIT=40: a quick look"
	@echo "make reproduce-voc | reproduce-coco | reproduce-context | reproduce-ade | reproduce-stuff"
	@echo "                the paper's runs; TRAIN='trainer=ddp' adds settings to the training"

setup: $(INSTALLED)

# pydensecrf2 asks for a Cython that does not know Python 3.13, so it is built with the one installed here.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { echo \
	  "$(PYTHON): not Python 3.11, 3.12 or 3.13; name one, as in: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	@command -v c++ >/dev/null || { echo "c++: not found; install a C++ compiler (on Debian: apt install g++)"; exit 2; }
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	$(INSTALL) "setuptools>=77" "cython>=3"
	$(INSTALL) --no-build-isolation-package pydensecrf2 --editable ".[dev]"
	@touch $@

# In as many processes as there are cores, a file of tests in one of them.
TEST_PROCESSES ?= auto
test: $(INSTALLED)
	$(RUN) -m pytest -q -n $(TEST_PROCESSES) --dist loadfile $(TESTS)

test-long: $(INSTALLED)
	$(RUN) -m pytest -q -n $(TEST_PROCESSES) -m long $(TESTS)

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy dhr benchmarks scripts
	$(BIN)/lint-imports --no-cache --no-logo
	$(RUN) scripts/check_style.py

bench: $(INSTALLED)
	$(RUN) benchmarks/run.py
	$(RUN) benchmarks/prepare.py 3000
	$(RUN) benchmarks/loader_memory.py
	$(RUN) benchmarks/networks.py

# The drawn scenes. Hidden files say that a stage came to its end.
# make knows no file whose name has a space: a data folder of such a name is reached by a link, which git does not see.
QUOTED := '$(subst ','\'',$(value DHR_DATA))'
DATA := $(shell folder=$(QUOTED); folder=$${folder:-data}; \
  [[ $$folder != "~/"* ]] || folder=$$HOME/$${folder:2}; \
  if [[ $$folder =~ ^[A-Za-z0-9_./-]+$$ ]]; then echo "$$folder"; else \
  [[ $$folder == /* ]] || folder=$$PWD/$$folder; mkdir -p .venv; ln -sfn -- "$$folder" .venv/data; echo .venv/data; fi)
SCENES := $(DATA)/Toy/.prepared
MASKS := $(DATA)/WSS/Toy/CAM/.trained
MASK_SCORES := $(DATA)/WSS/Toy/CAM/.scored
FEATURES := $(DATA)/Toy/.extracted
RUNS := outputs/toy/runs
# Every run starts from the backbone of the tag classifier, as runs on photographs start from ImageNet.
START := backbone.weights=$(DATA)/WSS/Toy/CAM/backbone.safetensors
DEMO_RUNS := $(RUNS)/demo-none $(RUNS)/demo-dhr

empty :=
comma := ,
list = [$(subst $(empty) $(empty),$(comma),$(strip $(1)))]

$(SCENES): | $(INSTALLED)
	$(RUN) -m dhr.prepare dataset=toy
	@touch $@

$(MASKS): $(SCENES)
	$(RUN) -W ignore -m dhr.train_wss dataset=toy wss=cam
	@touch $@

$(MASK_SCORES): $(MASKS)
	$(RUN) -m dhr.evaluate masks=$(@D)/train dataset=toy split=train
	@touch $@

$(FEATURES): $(SCENES)
	$(RUN) -m dhr.extract_uss dataset=toy split=train
	@touch $@

$(DEMO_RUNS:%=%/.trained): $(RUNS)/demo-%/.trained: $(MASKS) $(FEATURES)
	$(RUN) -W ignore -m dhr.train dataset=toy wss=cam $(START) rebalancing=$* name=demo-$* resume=auto
	@touch $@

$(DEMO_RUNS:%=%/scores/validation.json): %/scores/validation.json: %/.trained
	$(RUN) -m dhr.predict run=$* split=validation
	$(RUN) -m dhr.evaluate run=$* split=validation

DEMO_SCORES := $(RUNS)/demo-none/scores/validation.json $(RUNS)/demo-dhr/scores/validation.json

$(RUNS)/demo-dhr/report.html: $(DEMO_SCORES) $(MASK_SCORES)
	$(RUN) -m dhr.report run=$(@D) 'compare=$(call list,$(RUNS)/demo-none)'

demo: $(RUNS)/demo-dhr/report.html
	@echo "Open $<"

# Every rebalancing option and the truth as upper bound, over three seeds; two runs at a time, one core each.
# make ablation WSS=simulated uses simulated masks instead of those made from tags; the table says which.
SEEDS ?= 1 2 3
WSS ?= cam
OPTIONS := none dhr $(filter-out none dhr,$(notdir $(basename $(wildcard configs/rebalancing/*.yaml))))
ABLATION := $(foreach option,none dhr truth $(filter-out none dhr,$(OPTIONS)),\
  $(foreach seed,$(SEEDS),$(RUNS)/ablation_$(WSS)-$(option)-seed$(seed)/scores/validation.json))
.PHONY: ablation-runs
option = $(word 1,$(subst -seed, ,$*))
masks_of = $(if $(filter truth,$(option)),wss=truth rebalancing=none,wss=$1 rebalancing=$(option))

ablation: $(MASKS) $(FEATURES)
	OMP_NUM_THREADS=1 $(MAKE) --no-print-directory -j2 ablation-runs
	@echo "masks: $(WSS); validation scores, mean and standard deviation over the seeds"
	@$(RUN) scripts/ablation_table.py $(RUNS) ablation_$(WSS)

ablation-runs: $(ABLATION)

$(ABLATION): $(RUNS)/ablation_$(WSS)-%/scores/validation.json: | $(MASKS) $(FEATURES)
	$(RUN) -W ignore -m dhr.train dataset=toy $(call masks_of,$(WSS)) $(START) seed=$(word 2,$(subst -seed, ,$*)) crf.workers=0 \
	  name=ablation_$(WSS)-$* resume=auto
	$(RUN) -m dhr.predict run=$(RUNS)/ablation_$(WSS)-$* split=validation crf.workers=0
	$(RUN) -m dhr.evaluate run=$(RUNS)/ablation_$(WSS)-$* split=validation

# The second stage: the decoders learn what the demo's DHR run says of the training images, for as many epochs, from the
# backbone from which that run started too; EoMT, inside a vision transformer of its own, starts from random weights. Each
# has a learning rate of its own. SECOND_EPOCHS=16 trains twice as long.
SECOND_SEEDS ?= 1
SECOND_EPOCHS ?= 8
SECOND := second_stage_$(SECOND_EPOCHS)
DECODERS := deeplabv3plus_small mask2former_small eomt_small
DHR_MASKS := $(RUNS)/demo-dhr/scores/train.json
SECOND_SCORES := $(foreach decoder,$(DECODERS),\
  $(foreach seed,$(SECOND_SEEDS),$(RUNS)/$(SECOND)-$(decoder)-seed$(seed)/scores/validation.json))
own_optimizer = $(if $(filter deeplab%,$(option)),adamw,mask2former_small)
own_backbone = $(if $(filter eomt%,$(option)),backbone=vit_toy,$(START))

$(DHR_MASKS): $(RUNS)/demo-dhr/.trained
	$(RUN) -m dhr.predict run=$(RUNS)/demo-dhr split=train
	$(RUN) -m dhr.evaluate run=$(RUNS)/demo-dhr split=train

$(SECOND_SCORES): $(RUNS)/$(SECOND)-%/scores/validation.json: $(DHR_MASKS)
	$(RUN) -W ignore -m dhr.train dataset=toy wss=dhr wss.masks=$(RUNS)/demo-dhr/masks/train rebalancing=none \
	  classifier=none decoder=$(option) optimizer=$(own_optimizer) $(own_backbone) seed=$(word 2,$(subst -seed, ,$*)) crf.workers=0 \
	  dataset.max_epochs=$(SECOND_EPOCHS) name=$(SECOND)-$* resume=auto
	$(RUN) -m dhr.predict run=$(RUNS)/$(SECOND)-$* split=validation crf.workers=0
	$(RUN) -m dhr.evaluate run=$(RUNS)/$(SECOND)-$* split=validation

second-stage: $(SECOND_SCORES) $(RUNS)/demo-dhr/scores/validation.json
	@echo "masks: demo-dhr; $(SECOND_EPOCHS) epochs; validation scores, mean and standard deviation over the seeds"
	@$(RUN) scripts/ablation_table.py $(RUNS) $(SECOND) | tee $(RUNS)/../$(SECOND).txt

# Masks of the training split, of every WSS method that lies on disk, against human masks: a table and a few pictures.
# WSS_SETTINGS: settings of the data set, such as dataset.folder=VOCPhotos_40
WSS_DATASET ?= toy
WSS_SETTINGS ?=
wss-table: $(INSTALLED)
	@$(RUN) scripts/wss_table.py dataset=$(WSS_DATASET) $(WSS_SETTINGS)

# Whatever of a data set is on disk, beside what others published. RIVALS_SETTINGS: settings of the data set, as above.
RIVALS_DATASET ?= toy
RIVALS_SETTINGS ?=
rivals: $(INSTALLED)
	@$(RUN) scripts/rivals_table.py dataset=$(RIVALS_DATASET) $(RIVALS_SETTINGS)

# The experiment on real photographs, on two CPU cores: masks from tags, features, every option over three seeds, a report
# and a table. PHOTOS is a VOCdevkit, or a folder that holds it; masks of SBD in SegmentationClassAug beside are found.
# PHOTOS_WEIGHTS: ImageNet weights of tf_efficientnet_lite0 as a file, where timm cannot download them
# PHOTOS_LIMIT:   so many images of every split, in a data folder and under names of their own; with some dozens the
#                 networks learn nothing, so this is a look at the stages and not at scores
# PHOTOS_LABELS:  settings of the rows that make labels, such as "label_maker=ema refresh=round"
# PHOTOS_TRAIN:   settings of all rows. Runs with other settings than the usual ones have names of their own.
PHOTOS_SEEDS ?= 1 2 3
PHOTOS_OPTIONS ?= none paper dhr truth
PHOTOS_LABELS ?= label_maker=ema refresh=round refresh.epochs=3
PHOTOS_TRAIN ?=
quoted = '$(subst ','\'',$(value $1))'
PHOTOS_UNUSUAL := $(strip $(if $(filter file,$(origin PHOTOS_LABELS)),,$(value PHOTOS_LABELS)) $(value PHOTOS_TRAIN))
PHOTOS_NAME := photos$(PHOTOS_LIMIT:%=_%)$(if $(PHOTOS_UNUSUAL),_$(shell \
  tr -c 'A-Za-z0-9.' _ <<< $(call quoted,PHOTOS_UNUSUAL) | sed 's/_*$$//'))
PHOTOS_FOLDER := VOCPhotos$(PHOTOS_LIMIT:%=_%)
PHOTOS_SET := dataset=voc_photos$(PHOTOS_LIMIT:%= dataset.folder=$(PHOTOS_FOLDER))
PHOTOS_MASKS := $(DATA)/WSS/$(PHOTOS_FOLDER)/CAM
PHOTOS_FEATURES := $(DATA)/$(PHOTOS_FOLDER)/.extracted
PHOTOS_RUN := outputs/voc_photos/runs/$(PHOTOS_NAME)
PHOTOS_TABLE := outputs/voc_photos/$(PHOTOS_NAME).txt
photos_scores = $(foreach option,$(PHOTOS_OPTIONS),$(PHOTOS_RUN)-$(option)-seed$1/scores/validation.json)
PHOTOS_SCORES := $(foreach seed,$(PHOTOS_SEEDS),$(call photos_scores,$(seed)))
# The page is about the first option that is dhr, else the first, and the first seed; the others of that seed are beside it.
PHOTOS_FIRST := $(call photos_scores,$(firstword $(PHOTOS_SEEDS)))
PHOTOS_SHOWN := $(firstword $(filter $(PHOTOS_RUN)-dhr%,$(PHOTOS_FIRST)) $(PHOTOS_FIRST))
PHOTOS_REPORT := $(PHOTOS_SHOWN:%/scores/validation.json=%/report.html)
photos_weights = $(if $(value PHOTOS_WEIGHTS),$(foreach key,$1,$(key).weights=$(call quoted,PHOTOS_WEIGHTS)))
photos_rows = $(if $(filter none truth,$(option)),,$(PHOTOS_LABELS)) $(PHOTOS_TRAIN)
.PHONY: photos photos-given photos-prepared photos-runs

photos: photos-given $(INSTALLED)
	@$(RUN) scripts/before_photos.py $(call quoted,PHOTOS) $(or $(PHOTOS_LIMIT),null) \
	  $(words $(filter-out $(wildcard $(PHOTOS_SCORES)),$(PHOTOS_SCORES))) \
	  $(foreach option,$(PHOTOS_OPTIONS),'$(strip $(call masks_of,cam) $(photos_rows))')
	@$(MAKE) --no-print-directory -j1 photos-runs
	@echo "$(PHOTOS_NAME): masks of wss=cam; validation scores, mean and standard deviation over the seeds" | \
	  tee $(PHOTOS_TABLE)
	@$(RUN) scripts/ablation_table.py $(dir $(PHOTOS_RUN)) $(PHOTOS_NAME) | tee -a $(PHOTOS_TABLE)
	@echo "Open $(PHOTOS_REPORT)"

photos-given:
	@[[ -n $(call quoted,PHOTOS) ]] || { echo "PHOTOS: not given; which photographs? Unpack VOCtrainval_11-May-2012.tar" \
	  "and use: make photos PHOTOS=<folder>/VOCdevkit" >&2; exit 2; }

# One training after the other: each uses all cores.
photos-runs: photos-prepared $(PHOTOS_MASKS)/.scored $(PHOTOS_FEATURES) $(PHOTOS_SCORES) $(PHOTOS_REPORT)

photos-prepared:
	$(RUN) -m dhr.prepare $(PHOTOS_SET) source=$(call quoted,PHOTOS) limit=$(or $(PHOTOS_LIMIT),null)

$(PHOTOS_MASKS)/.trained: | photos-prepared
	$(RUN) -W ignore -m dhr.train_wss $(PHOTOS_SET) wss=cam $(call photos_weights,cam.backbone)
	@touch $@

$(PHOTOS_MASKS)/.scored: $(PHOTOS_MASKS)/.trained
	$(RUN) -m dhr.evaluate masks=$(@D)/train_aug $(PHOTOS_SET) split=train_aug
	@touch $@

$(PHOTOS_FEATURES): | photos-prepared
	$(RUN) -m dhr.extract_uss $(PHOTOS_SET) split=train_aug $(call photos_weights,uss.tokens)
	@touch $@

$(PHOTOS_SCORES): $(PHOTOS_RUN)-%/scores/validation.json: | $(PHOTOS_MASKS)/.trained $(PHOTOS_FEATURES)
	$(RUN) -W ignore -m dhr.train $(PHOTOS_SET) $(call masks_of,cam) $(call photos_weights,backbone uss.tokens) \
	  $(photos_rows) seed=$(word 2,$(subst -seed, ,$*)) name=$(PHOTOS_NAME)-$* resume=auto
	$(RUN) -m dhr.predict run=$(PHOTOS_RUN)-$* split=validation
	$(RUN) -m dhr.evaluate run=$(PHOTOS_RUN)-$* split=validation

$(PHOTOS_REPORT): $(PHOTOS_FIRST) | $(PHOTOS_MASKS)/.scored
	$(RUN) -m dhr.report run=$(@D) \
	  'compare=$(call list,$(patsubst %/scores/validation.json,%,$(filter-out $(PHOTOS_SHOWN),$(PHOTOS_FIRST))))'

# The paper's runs: images, WSS masks and USS features must lie in the data folder; a command names what is missing.
REPRODUCTIONS := $(addprefix reproduce-,voc coco context ade stuff)
.PHONY: $(REPRODUCTIONS)
$(REPRODUCTIONS): reproduce-%: $(INSTALLED)
	test -e outputs/$*/runs/reproduce_$*/.trained || $(RUN) -m dhr.train experiment=reproduce_$* $(TRAIN) \
	  resume=auto
	touch outputs/$*/runs/reproduce_$*/.trained
	$(RUN) -m dhr.predict run=outputs/$*/runs/reproduce_$* split=validation
	$(RUN) -m dhr.evaluate run=outputs/$*/runs/reproduce_$* split=validation
	$(RUN) -m dhr.report run=outputs/$*/runs/reproduce_$*
