"""What the application on Ray Serve is asked for. Knows no Ray."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Options(BaseModel):
    """What `serve run` takes as name=value, and serve.yaml under `args`."""

    model_config = ConfigDict(extra="forbid")

    model: str = "smollm2-135m-instruct"
    served_name: str | None = Field(None, description="The model's name for callers; keeps it through an update.")
    threads: int = Field(1, ge=1, description="Of a replica, and the CPUs that Ray sets aside for it.")
    min_replicas: int = Field(1, ge=1)
    max_replicas: int = Field(1, ge=1)
    target_ongoing_requests: float = Field(
        8, gt=0, description="Requests a replica, waiting and running, to scale for."
    )
    upscale_delay_s: float = Field(10, ge=0)
    downscale_delay_s: float = Field(300, ge=0)
    max_ongoing_requests: int = Field(64, ge=1, description="Of a replica; more wait in the front end.")
    max_replicas_per_node: int | None = Field(None, ge=1)
    num_fronts: int = Field(1, ge=1)
    front_resources: dict[str, float] = Field(
        default_factory=dict, description="Of Ray, where a front end must have them."
    )
    routing: Literal["prefix", "random"] = Field("prefix", description="random: the idler of two drawn at random.")
    drain_s: float = Field(60, ge=0)
    max_body: int = Field(8 << 20, ge=1)
    settings: dict[str, Any] = Field(default_factory=dict, description="Others of `gemmule serve`.")
