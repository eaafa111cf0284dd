"""The look of report.html: one style sheet, for the screen and for paper."""

from __future__ import annotations

STYLE_SHEET = """
:root { --ink:#1c2833; --muted:#5d6d7e; --line:#dfe5eb; --pale:#f6f8fa; --blue:#21618c; --teal:#148f77; --amber:#ca8a04;
  --amber-pale:#fdf6e3; --red:#b03a2e; --red-pale:#fcefed; }
* { box-sizing:border-box; }
html { -webkit-text-size-adjust:100%; }
body { margin:0; background:#fff; color:var(--ink); font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
  "Helvetica Neue","Noto Sans","Liberation Sans",Arial,sans-serif; font-variant-numeric:tabular-nums; }
main, header, footer { max-width:1080px; margin:0 auto; padding:0 28px; }
header { padding-top:44px; }
.kicker { font-size:13px; letter-spacing:.08em; text-transform:uppercase; color:var(--blue); font-weight:600; }
h1 { font-size:32px; line-height:1.2; margin:4px 0 6px; font-weight:650; letter-spacing:-.01em;
  overflow-wrap:anywhere; }
h2 { font-size:21px; line-height:1.3; margin:0 0 4px; font-weight:650; letter-spacing:-.005em; }
h3 { font-size:14px; margin:0 0 6px; font-weight:600; }
p { margin:0 0 10px; max-width:86ch; }
.facts { color:var(--muted); margin:0 0 22px; max-width:none; }
.facts span + span::before { content:"·"; margin:0 .55em; color:#aeb8c2; }
section { border-top:1px solid var(--line); padding:26px 0 30px; }
.lead { color:var(--muted); margin-bottom:18px; }
code { font:.88em ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace; overflow-wrap:anywhere; }

.box { border-left:4px solid var(--amber); background:var(--amber-pale); padding:14px 20px; margin:0 0 12px;
  border-radius:0 6px 6px 0; }
.box.grave { border-color:var(--red); background:var(--red-pale); }
.box h2 { font-size:17px; }
.box ul { margin:4px 0 0; padding-left:20px; }
.box li + li { margin-top:4px; }
.calm { color:var(--teal); font-weight:600; margin-bottom:12px; }

.tiles { display:grid; grid-template-columns:repeat(auto-fit,minmax(128px,1fr)); gap:12px; margin:18px 0 34px; }
.tile { border:1px solid var(--line); border-radius:8px; padding:14px 16px 12px; }
.tile .name { font-size:13px; color:var(--muted); }
.tile .value { font-size:25px; line-height:1.25; font-weight:650; letter-spacing:-.01em; white-space:nowrap; }
.tile .value small { font-size:15px; font-weight:500; color:var(--muted); letter-spacing:0; }
.tile .more { font-size:12.5px; color:var(--muted); line-height:1.35; }

.pair { display:grid; grid-template-columns:1fr 1fr; gap:28px; }
.trio { display:grid; grid-template-columns:repeat(3,1fr); gap:22px; }
.aside { display:grid; grid-template-columns:minmax(0,2.1fr) minmax(220px,1fr); gap:34px; align-items:start; }
figure { margin:0; min-width:0; }
figcaption { font-size:13.5px; color:var(--muted); margin-top:8px; line-height:1.45; }
figcaption b { color:var(--ink); font-weight:600; }
.plot.wide { max-width:760px; }
.plot svg { display:block; width:100%; height:auto; }
svg text { font-family:inherit !important; }
.frame { position:relative; overflow:hidden; border-radius:6px; line-height:0; background:#808080; }
.frame img { width:100%; height:auto; display:block; }
.bar { position:absolute; left:5%; bottom:5%; border-bottom:4px solid #fff; line-height:1; padding-bottom:5px;
  color:#fff; font-size:14px; font-weight:600; text-align:center; text-shadow:0 0 3px #000,0 0 6px #000;
  filter:drop-shadow(0 0 1.5px #000); }
.circle { position:absolute; inset:0; width:100%; height:100%; }
.circle circle { fill:none; stroke:#ffd23f; stroke-width:2px; vector-effect:non-scaling-stroke; }
.claim { font-size:30px; font-weight:650; line-height:1.2; color:var(--teal); margin-bottom:4px; }
.claim.none { color:var(--amber); font-size:22px; }

.gallery { display:grid; grid-template-columns:repeat(auto-fill,minmax(290px,1fr)); gap:20px 24px; margin:8px 0 28px; }
.gallery .two { display:grid; grid-template-columns:1fr 1fr; gap:3px; }
.gallery .frame { border-radius:3px; }
.gallery figcaption { margin-top:5px; font-size:12.5px; overflow-wrap:anywhere; }
.mark { color:var(--amber); font-weight:600; }

table { border-collapse:collapse; width:100%; font-size:14.5px; }
th, td { text-align:left; vertical-align:top; padding:6px 14px 6px 0; border-bottom:1px solid var(--line); }
th { font-weight:500; color:var(--muted); width:34%; }
td { overflow-wrap:anywhere; }
th code { white-space:nowrap; }
.tables div div { margin-bottom:26px; }
.tables { display:grid; grid-template-columns:1fr 1fr; gap:0 44px; align-items:start; }
footer { color:var(--muted); font-size:13px; padding-bottom:48px; }
footer p { max-width:none; margin-bottom:6px; }

@media (max-width:820px) { .trio, .aside, .tables { grid-template-columns:1fr; }
  .trio figure { max-width:430px; } main, header, footer { padding:0 18px; } header { padding-top:26px; }
  h1 { font-size:26px; } }
@media (max-width:480px) { .pair { grid-template-columns:1fr; gap:18px; } .gallery { grid-template-columns:1fr; } }
@media print { @page { margin:14mm; } body { font-size:10.5pt; } main, header, footer { max-width:none; padding:0; }
  .trio { grid-template-columns:repeat(3,1fr); } .aside { grid-template-columns:2fr 1fr; }
  .tables { grid-template-columns:1fr 1fr; }
  section { padding:14pt 0; } h2, h3, .lead { break-after:avoid; }
  .tiles { grid-template-columns:repeat(7,1fr); gap:6pt; } .tile { padding:6pt 8pt; } .tile .value { font-size:14pt; }
  .tile .value small { font-size:9pt; } .pair { max-width:150mm; } .gallery { grid-template-columns:repeat(3,1fr); }
  .trio, .pair, .aside, .lead { break-inside:avoid; } figure, .tile, .box, tr { break-inside:avoid; }
  .box, .bar, .frame { -webkit-print-color-adjust:exact; print-color-adjust:exact; } }
"""
