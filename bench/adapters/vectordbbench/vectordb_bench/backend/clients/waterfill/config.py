"""Where the index of VectorDBBench's cases is, and what it is asked for."""

from pydantic import BaseModel

from ..api import DBCaseConfig, DBConfig, MetricType


class WaterfillConfig(DBConfig):
    """The folder with the index; it needs no server."""

    path: str

    def to_dict(self) -> dict:
        """Return what `Waterfill` gets as `db_config`."""
        return {"path": self.path}


class WaterfillIndexConfig(BaseModel, DBCaseConfig):
    """The recall or the bytes that the index is asked for, and the rows that it keeps."""

    metric_type: MetricType | None = None
    target_recall: float | None = 0.9
    code_bytes: int | None = None
    keep_rows: str = "float16"

    def parse_metric(self) -> str:
        """Return the metric by waterfill's name."""
        if self.metric_type == MetricType.L2:
            return "l2"
        if self.metric_type in (MetricType.IP, MetricType.DP):
            return "ip"
        return "cosine"

    def index_param(self) -> dict:
        """Return the options of `waterfill.open_index`."""
        asked = {"target_recall": self.target_recall}
        if self.code_bytes is not None:
            asked = {"code_bytes": self.code_bytes}
        return {"metric": self.parse_metric(), "keep_rows": self.keep_rows, **asked}

    def search_param(self) -> dict:
        """Return nothing: how many lists are searched follows from the target."""
        return {}
