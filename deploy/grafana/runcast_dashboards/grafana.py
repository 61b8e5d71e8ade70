"""A board as Grafana's JSON, through grafana-foundation-sdk."""

from itertools import count

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as model

from runcast_dashboards.panel import Board, Panel, Variable

SOURCE = shapes.DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "runcast"
STAT_HEIGHT, GRAPH_HEIGHT = 4, 8
GREEN, ORANGE, RED = "green", "orange", "red"


def to_json(board: Board) -> str:
    """As it is committed: sorted, so that a change is a small difference."""
    return JSONEncoder(sort_keys=True, indent=1).encode(_board(board).build()) + "\n"


def _board(board: Board) -> dashboard.Dashboard:
    built = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags([TAG])
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("browser")
        .editable()
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .link(_others())
        .annotation(_alerts())
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    for variable in board.variables:
        built.with_variable(_variable(variable))
    ids = count(1)  # part of a panel's address
    for row in board.rows:
        built.with_row(dashboard.Row(row.title).id(next(ids)))
        for panel in row.panels:
            built.with_panel((_stat if panel.kind == "stat" else _graph)(panel).id(next(ids)))
    return built


def _others() -> dashboard.DashboardLink:
    link = dashboard.DashboardLink("Runcast").type(model.DashboardLinkType.DASHBOARDS).tags([TAG])
    return link.as_dropdown(False).keep_time(True)


def _alerts() -> dashboard.AnnotationQuery:
    """Firing alerts, over the time of every graph."""
    query = dashboard.AnnotationQuery().name("Alerts").datasource(SOURCE).enable(True).icon_color(RED)
    query.expr('ALERTS{alertstate="firing", alertname=~"Runcast.+"}')
    return query.title_format("{{alertname}}").text_format("{{severity}}").step("30s")


def _variable(variable: Variable) -> dashboard.QueryVariable:
    query = f"label_values({variable.metric}, {variable.label})"
    built = dashboard.QueryVariable(variable.name).label(variable.name.capitalize()).datasource(SOURCE)
    built.query({"query": query, "refId": variable.name}).definition(query)
    return built.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED).multi(True).include_all(True).all_value(".*")


def _stat(panel: Panel) -> stat.Panel:
    built = stat.Panel().title(panel.title).description(panel.description).unit(panel.unit).datasource(SOURCE)
    built.span(panel.width).height(STAT_HEIGHT).thresholds(_thresholds(panel)).no_value("no data")
    built.graph_mode(shapes.BigValueGraphMode.AREA).color_mode(shapes.BigValueColorMode.VALUE)
    built.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    for target in _targets(panel):
        built.with_target(target)
    return built


def _graph(panel: Panel) -> timeseries.Panel:
    built = timeseries.Panel().title(panel.title).description(panel.description).unit(panel.unit).datasource(SOURCE)
    built.span(panel.width).height(GRAPH_HEIGHT).fill_opacity(25 if panel.stacked else 8).line_width(1)
    built.show_points(shapes.VisibilityMode.NEVER)
    legend = common.VizLegendOptions().show_legend(True).display_mode(shapes.LegendDisplayMode.LIST)
    built.legend(legend.placement(shapes.LegendPlacement.BOTTOM))
    built.tooltip(common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI).sort(shapes.SortOrder.DESCENDING))
    if panel.stacked:
        built.stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL))
    if panel.log:
        built.scale_distribution(common.ScaleDistributionConfig().type(shapes.ScaleDistribution.LOG).log(10))
    else:
        built.axis_soft_min(0)
    if panel.bad is not None:
        built.thresholds(_thresholds(panel))
        built.thresholds_style(common.GraphThresholdsStyleConfig().mode(shapes.GraphThresholdsStyleMode.DASHED))
    for target in _targets(panel):
        built.with_target(target)
    return built


def _targets(panel: Panel) -> list[prometheus.Dataquery]:
    return [
        prometheus.Dataquery().expr(query.expr).legend_format(query.legend or panel.title).ref_id(letter).range()
        for letter, query in zip("ABCDEFGH", panel.queries, strict=False)
    ]


def _thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    steps = [model.Threshold(value=None, color=GREEN)]
    for value, colour in ((panel.warn, ORANGE), (panel.bad, RED)):
        if value is not None:
            steps.append(model.Threshold(value=value, color=colour))
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)
