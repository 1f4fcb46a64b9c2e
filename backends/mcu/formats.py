"""Project formats: where the sources lie, and the files a build system or an IDE wants around them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from boardfit.board import McuBoard
from boardfit.names import c_identifier
from boardfit.options import ProjectFormat

from .render import comment_text, render

VERSION = "1.0.0"
"""Version of an emitted library: package managers want one, and the same model gives the same files."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Folders of a format, relative to the output folder.

    Attributes:
        sources: folder of the sources and of the headers only they include; "" or with a slash at its end.
        headers: folder of the headers an application includes.
        files: path -> template of the files this format adds.
    """

    sources: str = ""
    headers: str = ""
    files: Mapping[str, str] = field(default_factory=dict)

    def place(self, name: str, prefix: str) -> str:
        """Path of one of the sources."""
        public = name in (f"{prefix}.h", f"{prefix}.hpp")
        return (self.headers if public else self.sources) + name


LAYOUTS: dict[ProjectFormat, Layout] = {
    ProjectFormat.C: Layout(files={"CMakeLists.txt": "project/CMakeLists.txt.j2"}),
    # https://docs.arduino.cc/arduino-cli/library-specification: everything below src/ is compiled, -Isrc
    ProjectFormat.ARDUINO: Layout(
        "src/",
        "src/",
        {
            "library.properties": "formats/arduino/library.properties.j2",
            "keywords.txt": "formats/arduino/keywords.txt.j2",
            "examples/run/run.ino": "formats/arduino/run.ino.j2",
        },
    ),
    ProjectFormat.CMAKE: Layout(
        "src/",
        "include/",
        {
            "CMakeLists.txt": "formats/cmake/CMakeLists.txt.j2",
            "cmake/{prefix}-config.cmake": "formats/cmake/config.cmake.j2",
            "cmake/toolchain.cmake": "formats/cmake/toolchain.cmake.j2",
            "examples/run/CMakeLists.txt": "formats/cmake/example.txt.j2",
            "examples/run/main.c": "formats/main.c.j2",
        },
    ),
    # https://docs.platformio.org, "library.json": src/ is compiled, include/ and src/ are searched
    ProjectFormat.PLATFORMIO: Layout(
        "src/",
        "include/",
        {
            "examples/run/platformio.ini": "formats/platformio/example.ini.j2",
            "examples/run/src/main.cpp": "formats/platformio/main.cpp.j2",
        },
    ),
    # https://docs.zephyrproject.org, "Modules (External projects)"
    ProjectFormat.ZEPHYR: Layout(
        "src/",
        "include/",
        {
            "zephyr/module.yml": "formats/zephyr/module.yml.j2",
            "zephyr/CMakeLists.txt": "formats/zephyr/CMakeLists.txt.j2",
            "zephyr/Kconfig": "formats/zephyr/Kconfig.j2",
            "samples/run/CMakeLists.txt": "formats/zephyr/sample.txt.j2",
            "samples/run/prj.conf": "formats/zephyr/prj.conf.j2",
            "samples/run/src/main.c": "formats/main.c.j2",
        },
    ),
}


@dataclass(frozen=True, slots=True)
class Environment:
    """What PlatformIO calls a board."""

    platform: str
    board: str


PLATFORMIO_BOARDS = {
    "arduino-nano-33-ble": Environment("nordicnrf52", "nano33ble"),
    "disco-f746ng": Environment("ststm32", "disco_f746ng"),
    "esp32-c3": Environment("espressif32", "esp32-c3-devkitm-1"),
    "nucleo-f446re": Environment("ststm32", "nucleo_f446re"),
    "nucleo-h743zi": Environment("ststm32", "nucleo_h743zi"),
    "nucleo-l4r5zi": Environment("ststm32", "nucleo_l4r5zi"),
    "raspberry-pi-pico": Environment("raspberrypi", "pico"),
    "stm32f103-blue-pill": Environment("ststm32", "bluepill_f103c8"),
}
"""Board -> its name in PlatformIO's registry; for the others the example has no environment."""


def format_files(
    chosen: ProjectFormat, context: Mapping[str, object], board: McuBoard, graph_name: str
) -> dict[str, str]:
    """The files only this format has: path -> text.

    Args:
        context: template variables of the project (`project.project_files`).
        graph_name: name of the network, as the model file has it.
    """
    variables = {**context, **format_context(board, graph_name)}
    prefix = str(context["prefix"])
    files = {
        path.format(prefix=prefix): render(template, variables) for path, template in LAYOUTS[chosen].files.items()
    }
    if chosen is ProjectFormat.PLATFORMIO:
        files["library.json"] = _library_json(context, str(variables["library"]))
    return files


def format_context(board: McuBoard, graph_name: str) -> dict[str, object]:
    """Template variables that only formats need."""
    return {
        "library": f"boardfit_{c_identifier(graph_name)}",
        "kconfig_title": comment_text(graph_name).replace('"', "'").replace("$", "S"),
        "compiler_prefix": comment_text(board.toolchain.prefix),
        "environment": PLATFORMIO_BOARDS.get(board.name),
    }


def _library_json(context: Mapping[str, object], library: str) -> str:
    manifest = {
        "name": library,
        "version": VERSION,
        "description": f"The neural network {context['title']} in C, without heap and without dependencies",
        "headers": [f"{context['prefix']}.h", f"{context['prefix']}.hpp"],
        "frameworks": "*",
        "platforms": "*",
        "build": {
            "srcDir": "src",
            "includeDir": "include",
            "flags": [context["optimization"], "-ffunction-sections", "-fdata-sections"],
        },
        "examples": [{"name": "run", "base": "examples/run", "files": ["platformio.ini", "src/main.cpp"]}],
    }
    return json.dumps(manifest, indent=2) + "\n"
