"""Every project format: verified like plain sources, and built the way its build system builds it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

import boardfit
from boardfit.artifact import Artifact
from boardfit.errors import UsageError
from boardfit.interp import run
from boardfit.ir import Affine
from boardfit.options import BackendOptions, ProjectFormat

from .tools import CALIBRATION, DIGITS, STRICT, call, need, network

BOARD = "nucleo-l4r5zi"
SOURCES = ("model.c", "model.h", "model.hpp", "model_kernels.h", "model_weights.c", "model_weights.h")
ARM = ("-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard")

ARDUINO_H = """
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#define ARDUINO 10819
/* the part of the Arduino API the examples use; the overloads are those of the class Print */
struct Port {
    void begin(unsigned long) {}
    size_t print(const char *text) { return (size_t)printf("%s", text); }
    size_t println(char c) { return (size_t)printf("char %c\\n", c); }
    size_t println(unsigned char n) { return (size_t)printf("%u\\n", n); }
    size_t println(int n) { return (size_t)printf("%d\\n", n); }
    size_t println(unsigned int n) { return (size_t)printf("%u\\n", n); }
    size_t println(long n) { return (size_t)printf("%ld\\n", n); }
    size_t println(unsigned long n) { return (size_t)printf("%lu\\n", n); }
    size_t println(double n) { return (size_t)printf("%f\\n", n); }
};
extern Port Serial;
inline unsigned long micros() { return 0; }
inline void delay(unsigned long) {}
void setup();
void loop();
"""
ARDUINO_MAIN = '#include "Arduino.h"\nPort Serial;\nint main() { setup(); loop(); return 0; }\n'


@pytest.fixture(scope="module")
def artifacts() -> dict[ProjectFormat, Artifact]:
    return {
        chosen: boardfit.compile(DIGITS, BOARD, CALIBRATION, backend=BackendOptions(format=chosen)).artifact
        for chosen in ProjectFormat
    }


def outputs_of_zeros() -> list[int]:
    """What the examples compute: the outputs for inputs whose real values are zero."""
    graph = network("digits")
    element = graph.types[graph.inputs[0]].element
    assert isinstance(element, Affine)
    zeros = np.full((1, *graph.types[graph.inputs[0]].shape), element.zero_point[0])
    return [int(value) for value in run(graph, {graph.inputs[0]: zeros})[graph.outputs[0]].reshape(-1)]


def printed(text: str) -> list[int]:
    return [int(value) for value in re.findall(r"^output(?:\[\d+\] =)? (-?\d+)$", text, re.MULTILINE)]


@pytest.mark.parametrize("chosen", ProjectFormat)
def test_verifies_on_this_computer(
    artifacts: dict[ProjectFormat, Artifact], chosen: ProjectFormat, tmp_path: Path
) -> None:
    need("make", "gcc")
    assert boardfit.verify(artifacts[chosen].write(tmp_path / "out"), "host").equal


@pytest.mark.slow
@pytest.mark.parametrize("chosen", ProjectFormat)
def test_verifies_on_the_emulated_core(
    artifacts: dict[ProjectFormat, Artifact], chosen: ProjectFormat, tmp_path: Path
) -> None:
    need("make", "arm-none-eabi-gcc", "qemu-system-arm")
    found = boardfit.verify(artifacts[chosen].write(tmp_path / "out"), "qemu")
    assert found.equal
    assert {entry.name for entry in found.footprint} >= {"flash", "ram"}


def test_the_sources_are_the_same(artifacts: dict[ProjectFormat, Artifact]) -> None:
    """A format moves files; it changes none."""
    plain = artifacts[ProjectFormat.C].files
    for chosen, artifact in artifacts.items():
        by_name = {Path(path).name: content for path, content in artifact.files.items() if "test/" not in path}
        assert {name: by_name[name] for name in SOURCES} == {name: plain[name] for name in SOURCES}, chosen
        readme = artifact.files["README.md"].decode()
        for path in re.findall(r"`((?:src|include)/[\w.]+)`", readme):
            assert path in artifact.files, path


def test_a_single_header_is_no_library() -> None:
    options = BackendOptions(single_header=True, format=ProjectFormat.ARDUINO)
    with pytest.raises(UsageError, match="a single header is no arduino project"):
        boardfit.compile(DIGITS, BOARD, CALIBRATION, backend=options)


def test_arduino(artifacts: dict[ProjectFormat, Artifact], tmp_path: Path) -> None:
    need("gcc", "g++")
    folder = artifacts[ProjectFormat.ARDUINO].write(tmp_path / "library")
    lines = (folder / "library.properties").read_text().splitlines()
    facts = dict(line.split("=", 1) for line in lines)
    assert set(facts) >= {"name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url"}
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,62}", facts["name"])
    assert facts["includes"] == "model.h"
    assert all(len(line.split("\t")) == 2 for line in (folder / "keywords.txt").read_text().splitlines())
    # as the IDE does: src/ is searched and compiled as gnu11, a sketch is C++ after an #include of Arduino.h
    (tmp_path / "Arduino.h").write_text(ARDUINO_H)
    (tmp_path / "main.cpp").write_text(ARDUINO_MAIN)
    sketch = (folder / "examples/run/run.ino").read_text()
    (tmp_path / "run.ino.cpp").write_text("#include <Arduino.h>\n" + sketch)
    sources = [str(path) for path in sorted((folder / "src").glob("*.c"))]
    call(tmp_path, "gcc", "-Os", "-std=gnu11", "-Wall", "-Werror", "-c", *sources)
    for standard in ("gnu++11", "gnu++17"):
        flags = (f"-std={standard}", "-Wall", "-Wextra", "-Werror", "-fno-exceptions", "-fno-rtti")
        objects = ("model.o", "model_weights.o")
        call(tmp_path, "g++", *flags, "-I.", "-Ilibrary/src", "run.ino.cpp", "main.cpp", *objects, "-o", "run")
        lines = call(tmp_path, "./run").splitlines()
        assert printed("\n".join(lines)) == outputs_of_zeros()
        assert lines[-1] == "microseconds 0"


def test_arduino_by_its_own_build_tool(artifacts: dict[ProjectFormat, Artifact], tmp_path: Path) -> None:
    """The IDE's builder, the real Arduino.h and core library: the core that is a system package is for AVR."""
    need("arduino-builder", "avr-gcc")
    hardware = Path("/usr/share/arduino/hardware")
    if not (hardware / "arduino" / "avr").is_dir():
        pytest.skip("the Arduino core for AVR (package arduino-core-avr) is not installed")
    artifacts[ProjectFormat.ARDUINO].write(tmp_path / "libraries" / "model")
    (tmp_path / "build").mkdir()
    (tmp_path / "run").mkdir()
    sketch = tmp_path / "run" / "run.ino"
    sketch.write_text((tmp_path / "libraries/model/examples/run/run.ino").read_text())
    places = {
        "hardware": ("/usr/share/arduino-builder", str(hardware)),
        "tools": ("/usr/bin",),
        "libraries": (str(tmp_path / "libraries"),),
        "build-path": (str(tmp_path / "build"),),
    }
    options = [word for option, values in places.items() for value in values for word in (f"-{option}", value)]
    paths = ("runtime.tools.ctags.path=/usr/bin", "runtime.tools.avr-gcc.path=/usr")
    # the packaged avr-libc lacks a constant that the packaged core wants
    extra = "compiler.cpp.extra_flags=-DDECIMAL_DIG=10"
    preferences = [f"-prefs={setting}" for setting in (*paths, extra)]
    board = ("-fqbn", "arduino:avr:mega:cpu=atmega2560", "-warnings", "all")
    told = call(tmp_path, "arduino-builder", *options, *preferences, *board, str(sketch))
    assert "program storage space" in told
    assert (tmp_path / "build" / "run.ino.elf").is_file()


def test_arduino_for_the_core(artifacts: dict[ProjectFormat, Artifact], tmp_path: Path) -> None:
    need("arm-none-eabi-gcc", "arm-none-eabi-g++")
    folder = artifacts[ProjectFormat.ARDUINO].write(tmp_path / "library")
    sources = [str(path) for path in sorted((folder / "src").glob("*.c"))]
    call(tmp_path, "arm-none-eabi-gcc", *ARM, "-Os", "-std=gnu11", "-Wall", "-Werror", "-c", *sources)
    (tmp_path / "use.cpp").write_text("#include <model.hpp>\nboardfit::model::OwningNetwork network;\n")
    flags = ("-std=gnu++17", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics", *STRICT)
    call(tmp_path, "arm-none-eabi-g++", *ARM, "-Os", *flags, "-Ilibrary/src", "-c", "use.cpp")


def test_cmake_example_finds_the_sources(artifacts: dict[ProjectFormat, Artifact], tmp_path: Path) -> None:
    need("cmake", "make", "gcc")
    folder = artifacts[ProjectFormat.CMAKE].write(tmp_path / "package")
    call(tmp_path, "cmake", "-S", str(folder / "examples/run"), "-B", "build")
    call(tmp_path, "cmake", "--build", "build")
    assert printed(call(tmp_path, "build/run")) == outputs_of_zeros()


CMAKE_APPLICATION = """
cmake_minimum_required(VERSION 3.15)
project(application LANGUAGES C)
{find}
add_executable(run package/examples/run/main.c)
target_link_libraries(run PRIVATE model::model)
"""


def test_cmake_subdirectory_and_installed_package(artifacts: dict[ProjectFormat, Artifact], tmp_path: Path) -> None:
    need("cmake", "make", "gcc")
    artifacts[ProjectFormat.CMAKE].write(tmp_path / "package")
    call(tmp_path, "cmake", "-S", "package", "-B", "library", f"-DCMAKE_INSTALL_PREFIX={tmp_path / 'prefix'}")
    call(tmp_path, "cmake", "--build", "library", "--target", "install")
    for number, find in enumerate(("add_subdirectory(package)", "find_package(model 1.0.0 CONFIG REQUIRED)")):
        (tmp_path / "CMakeLists.txt").write_text(CMAKE_APPLICATION.format(find=find))
        build = f"build{number}"
        call(tmp_path, "cmake", "-S", ".", "-B", build, f"-DCMAKE_PREFIX_PATH={tmp_path / 'prefix'}")
        call(tmp_path, "cmake", "--build", build)
        assert printed(call(tmp_path, f"{build}/run")) == outputs_of_zeros()


def test_cmake_toolchain_of_the_board(artifacts: dict[ProjectFormat, Artifact], tmp_path: Path) -> None:
    need("cmake", "make", "arm-none-eabi-gcc")
    folder = artifacts[ProjectFormat.CMAKE].write(tmp_path / "package")
    call(tmp_path, "cmake", "-S", "package", "-B", "build", f"--toolchain={folder / 'cmake/toolchain.cmake'}")
    call(tmp_path, "cmake", "--build", "build")
    attributes = call(tmp_path, "arm-none-eabi-readelf", "-A", "build/libmodel.a")
    assert 'Tag_CPU_name: "7E-M"' in attributes
    assert "Tag_ABI_VFP_args: VFP registers" in attributes


def test_platformio(artifacts: dict[ProjectFormat, Artifact], tmp_path: Path) -> None:
    need("gcc", "g++")
    folder = artifacts[ProjectFormat.PLATFORMIO].write(tmp_path / "library")
    manifest = json.loads((folder / "library.json").read_text())
    assert re.fullmatch(r"[a-z0-9_-]{1,50}", manifest["name"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", manifest["version"])
    build = manifest["build"]
    assert all((folder / build["includeDir"] / header).is_file() for header in manifest["headers"])
    for example in manifest["examples"]:
        assert all((folder / example["base"] / name).is_file() for name in example["files"])
    environments = (folder / "examples/run/platformio.ini").read_text()
    assert "board = nucleo_l4r5zi" in environments
    includes = (f"-I{folder / build['includeDir']}", f"-I{folder / build['srcDir']}")
    sources = [str(path) for path in sorted((folder / build["srcDir"]).glob("*.c"))]
    call(tmp_path, "gcc", *build["flags"], *includes, "-Wall", "-Werror", "-c", *sources)
    main, objects = str(folder / "examples/run/src/main.cpp"), ("model.o", "model_weights.o")
    flags = ("-std=gnu++11", "-Wall", "-Wextra", "-Werror")
    call(tmp_path, "g++", *flags, *includes, main, *objects, "-o", "native")
    assert printed(call(tmp_path, "./native")) == outputs_of_zeros()
    (tmp_path / "Arduino.h").write_text(ARDUINO_H)
    (tmp_path / "main.cpp").write_text(ARDUINO_MAIN)
    call(tmp_path, "g++", *flags, "-DARDUINO=10819", "-I.", *includes, main, "main.cpp", *objects, "-o", "board")
    assert [int(line) for line in call(tmp_path, "./board").split()] == outputs_of_zeros()


ZEPHYR = """
# What Zephyr's build does with a module, as far as this test needs it: Kconfig values of prj.conf as variables, then
# the module's CMake folder. https://docs.zephyrproject.org, "Modules (External projects)"
project(Zephyr-Kernel LANGUAGES C)
add_library(zephyr_interface INTERFACE)
add_executable(app)
target_link_libraries(app PRIVATE zephyr_interface)
function(zephyr_include_directories)
    target_include_directories(zephyr_interface INTERFACE ${ARGV})
endfunction()
macro(zephyr_library_named name)
    set(ZEPHYR_CURRENT_LIBRARY ${name})
    add_library(${name} STATIC)
    target_link_libraries(${name} PUBLIC zephyr_interface)
    target_link_libraries(app PRIVATE ${name})
endmacro()
function(zephyr_library_sources)
    target_sources(${ZEPHYR_CURRENT_LIBRARY} PRIVATE ${ARGV})
endfunction()
function(zephyr_library_compile_options)
    target_compile_options(${ZEPHYR_CURRENT_LIBRARY} PRIVATE ${ARGV})
endfunction()
file(STRINGS ${CMAKE_CURRENT_SOURCE_DIR}/prj.conf settings)
foreach(setting ${settings})
    if(setting MATCHES "^(CONFIG_[A-Z0-9_]+)=(.+)$")
        set(${CMAKE_MATCH_1} ${CMAKE_MATCH_2})
    endif()
endforeach()
foreach(module ${EXTRA_ZEPHYR_MODULES})
    file(STRINGS ${module}/zephyr/module.yml folder REGEX "cmake:")
    string(REGEX REPLACE ".*cmake: *" "" folder "${folder}")
    file(STRINGS ${module}/zephyr/module.yml name REGEX "name:")
    string(REGEX REPLACE ".*name: *" "" name "${name}")
    add_subdirectory(${module}/${folder} modules/${name})
endforeach()
"""


def _parse_kconfig(path: Path) -> None:
    """By the parser that Zephyr's build uses, where it is installed."""
    try:
        import kconfiglib
    except ImportError:
        return
    found = kconfiglib.Kconfig(str(path))
    assert found.syms["BOARDFIT_MODEL"].type == kconfiglib.BOOL
    assert not found.warnings


@pytest.mark.parametrize("enabled", [True, False])
def test_zephyr(artifacts: dict[ProjectFormat, Artifact], enabled: bool, tmp_path: Path) -> None:
    """With a stand-in for Zephyr; the sample is built by its own CMakeLists.txt."""
    need("cmake", "make", "gcc")
    folder = artifacts[ProjectFormat.ZEPHYR].write(tmp_path / "module")
    module = yaml.safe_load((folder / "zephyr/module.yml").read_text())
    assert (folder / module["build"]["cmake"] / "CMakeLists.txt").is_file()
    kconfig = (folder / module["build"]["kconfig"]).read_text()
    _parse_kconfig(folder / module["build"]["kconfig"])
    settings = folder / "samples/run/prj.conf"
    for setting in re.findall(r"^CONFIG_(\w+)=y$", settings.read_text(), re.MULTILINE):
        assert re.search(rf'^config {setting}\n\tbool "[^"]+"\n\thelp\n', kconfig, re.MULTILINE)
    if not enabled:
        settings.write_text("")
    (tmp_path / "zephyr").mkdir()
    (tmp_path / "zephyr/ZephyrConfig.cmake").write_text(ZEPHYR)
    where = f"-DZephyr_DIR={tmp_path / 'zephyr'}"
    call(tmp_path, "cmake", "-S", str(folder / "samples/run"), "-B", "build", where)
    if enabled:
        call(tmp_path, "cmake", "--build", "build")
        assert printed(call(tmp_path, "build/app")) == outputs_of_zeros()
    else:
        targets = call(tmp_path, "cmake", "--build", "build", "--target", "help")
        assert "boardfit_model" not in targets  # a module that is not switched on adds nothing
