"""Plots for boards, readouts and pages: data in, plotly figure out, in one look. Reads no store and writes no file."""

from grafana.charts.embed import embedded, plotly_script
from grafana.charts.figures import Bin, bars, histogram, stack
from grafana.charts.look import DARK, LIGHT, LOOKS, Look

__all__ = ["DARK", "LIGHT", "LOOKS", "Bin", "Look", "bars", "embedded", "histogram", "plotly_script", "stack"]
