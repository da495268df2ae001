//! Draws what `sixpin-benches STORE --json FILE` measured.
//!
//! ```text
//! cargo run --release -p sixpin-benches --bin plots -- docs/pictures redis.json etcd.json nats.json
//! ```
//!
//! `throughput.svg` shows pairs in a second against requests in flight, `latency.svg` how long half of the pairs took against
//! pairs in a second; one panel for each store, all axes logarithmic.

// A program that draws says what is wrong with its files and ends.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Parser;
use sixpin_benches::figures::{Figures, Way};

/// Draws figures of measurements.
#[derive(Debug, Parser)]
struct Args {
    /// Where the pictures go.
    folder: PathBuf,
    /// Figures of stores.
    #[arg(required = true)]
    figures: Vec<PathBuf>,
}

fn main() {
    let args = Args::parse();
    let read = |file: &PathBuf| serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let stores: Vec<Figures> = args.figures.iter().map(read).collect();
    let throughput = Picture {
        title: "Pairs of lock and unlock in a second, against requests in flight",
        across: "requests in flight",
        up: "pairs/s",
        place: |load, way| (load, way.per_second[1]),
    };
    let latency = Picture {
        title: "How long half of the pairs take at most, against pairs in a second",
        across: "pairs/s",
        up: "µs",
        place: |_, way| (way.per_second[1], way.p50_us as f64),
    };
    for (name, picture) in [("throughput.svg", throughput), ("latency.svg", latency)] {
        std::fs::write(args.folder.join(name), picture.draw(&stores)).unwrap();
    }
}

/// A point of a line: where it is across, and how far up.
type Place = (f64, f64);

/// One picture with a panel for each store.
struct Picture {
    title: &'static str,
    across: &'static str,
    up: &'static str,
    /// Of a load and what one way did under it.
    place: fn(f64, &Way) -> Place,
}

/// Width and height of a panel's plot, and the room around it.
const PLOT: (f64, f64) = (220.0, 180.0);
const LEFT: f64 = 58.0;
const TOP: f64 = 64.0;
const PANEL: f64 = PLOT.0 + LEFT + 14.0;
const HEIGHT: f64 = TOP + PLOT.1 + 46.0;
/// Colours that people who see few colours tell apart, and on light and dark ground.
const COLOURS: [&str; 4] = ["#888888", "#d55e00", "#009e73", "#0072b2"];

impl Picture {
    fn draw(&self, stores: &[Figures]) -> String {
        let width = PANEL * stores.len() as f64;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {HEIGHT:.0}\" font-family=\"sans-serif\" \
             font-size=\"11\" role=\"img\" aria-label=\"{0}\">\n<style>text {{ fill: #222 }} .grid {{ stroke: #bbb; \
             stroke-width: 0.5 }} @media (prefers-color-scheme: dark) {{ text {{ fill: #ddd }} .grid {{ stroke: #555 }} }}</style>\n\
             <text x=\"8\" y=\"18\" font-size=\"13\" font-weight=\"bold\">{0}</text>\n",
            self.title
        );
        legend(stores, &mut svg);
        for (number, store) in stores.iter().enumerate() {
            let _ = writeln!(svg, "<g transform=\"translate({:.1} {TOP})\">", PANEL * number as f64 + LEFT);
            self.panel(store, &mut svg);
            svg.push_str("</g>\n");
        }
        svg + "</svg>\n"
    }

    fn panel(&self, store: &Figures, svg: &mut String) {
        let lines = self.lines(store);
        let all = || lines.iter().flatten();
        let across = Axis::over(all().map(|place| place.0), PLOT.0);
        let up = Axis::over(all().map(|place| place.1), PLOT.1);
        let _ = writeln!(svg, "<text x=\"0\" y=\"-8\" font-weight=\"bold\">{}</text>", store.store);
        for tick in across.ticks() {
            let x = across.at(tick);
            let (height, below) = (PLOT.1, PLOT.1 + 14.0);
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{x:.1} 0V{height}\"/><text x=\"{x:.1}\" y=\"{below}\" text-anchor=\"middle\">{}</text>",
                short(tick)
            );
        }
        for tick in up.ticks() {
            let y = PLOT.1 - up.at(tick);
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M0 {y:.1}H{}\"/><text x=\"-6\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                PLOT.0,
                y + 4.0,
                short(tick)
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text><text x=\"-52\" y=\"-8\">{}</text>",
            PLOT.0 / 2.0,
            PLOT.1 + 32.0,
            self.across,
            self.up
        );
        for (number, line) in lines.iter().enumerate() {
            let colour = COLOURS[number % COLOURS.len()];
            let places: Vec<String> =
                line.iter().map(|(x, y)| format!("{:.1},{:.1}", across.at(*x), PLOT.1 - up.at(*y))).collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                places.join(" ")
            );
            for place in &places {
                let (x, y) = place.split_once(',').unwrap_or_default();
                let _ = writeln!(svg, "<circle cx=\"{x}\" cy=\"{y}\" r=\"2.6\" fill=\"{colour}\"/>");
            }
        }
    }

    /// One line for each way.
    fn lines(&self, store: &Figures) -> Vec<Vec<Place>> {
        let ways = store.pairs.first().map_or(0, |point| point.ways.len());
        let line = |way: usize| {
            let points = store.pairs.iter().filter_map(|point| Some((point.load, point.ways.get(way)?)));
            points.map(|(load, way)| (self.place)(load.into(), way)).collect()
        };
        (0..ways).map(line).collect()
    }
}

fn legend(stores: &[Figures], svg: &mut String) {
    let ways = stores.iter().flat_map(|store| &store.pairs).map(|point| &point.ways).next();
    for (number, way) in ways.into_iter().flatten().enumerate() {
        let x = 8.0 + 130.0 * number as f64;
        let colour = COLOURS[number % COLOURS.len()];
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"30\" width=\"14\" height=\"4\" fill=\"{colour}\"/><text x=\"{}\" y=\"36\">{}</text>",
            x + 19.0,
            way.way
        );
    }
}

/// A logarithmic axis of so many pixels.
struct Axis {
    low: f64,
    high: f64,
    pixels: f64,
}

impl Axis {
    /// As long as these values need, and a little more.
    fn over(values: impl Iterator<Item = f64>, pixels: f64) -> Self {
        let (low, high) =
            values.fold((f64::MAX, f64::MIN_POSITIVE), |(low, high), value| (low.min(value), high.max(value)));
        Self { low: low / 1.3, high: high * 1.3, pixels }
    }

    fn at(&self, value: f64) -> f64 {
        (value / self.low).ln() / (self.high / self.low).ln() * self.pixels
    }

    /// Powers of ten, and more between them where these are few.
    fn ticks(&self) -> Vec<f64> {
        let decades = (self.high / self.low).log10();
        let steps: &[f64] = if decades > 2.5 { &[1.0] } else { &[1.0, 3.0] };
        let powers = (-3..12).map(|power| 10_f64.powi(power));
        let ticks = powers.flat_map(|power| steps.iter().map(move |step| power * step));
        ticks.filter(|tick| (self.low..=self.high).contains(tick)).collect()
    }
}

/// `300`, `3k`, `30k`, `1M`.
fn short(value: f64) -> String {
    match value {
        1_000_000.0.. => format!("{:.0}M", value / 1e6),
        1_000.0.. => format!("{:.0}k", value / 1e3),
        _ => format!("{value:.0}"),
    }
}
