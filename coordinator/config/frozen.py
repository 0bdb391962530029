"""What every section of the configuration is: fixed once it is made, and without unknown keys."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A section."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
