"""The style sheet of the report: one light page for a phone, a desktop and the printer."""

STYLE = """
:root{--ink:#1c2430;--muted:#5d6878;--line:#e3e7ed;--card:#fff;--page:#f5f6f8;--accent:#2f5fb3;--thing:#c8632a;--stuff:#1f8a7a}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);-webkit-text-size-adjust:100%;
 font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1120px;margin:0 auto;padding:28px 20px 56px}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 .35em;letter-spacing:-.01em}
h2{font-size:1.2rem;margin:0 0 .5em}
h3{font-size:1rem;margin:0 0 .7em}
h4{font-size:.85rem;font-weight:600;color:var(--muted);margin:1em 0 .45em}
.lead{margin:0 0 1.1em;max-width:46em;color:var(--muted)}
.note{color:var(--muted);font-size:.9rem;max-width:52em;margin:0 0 1em}
section,.headline,article{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:20px 22px}
section{margin-top:22px}
.headline{display:grid;grid-template-columns:auto 1fr;gap:6px 40px;align-items:center}
.headline .note{grid-column:1/-1;margin:8px 0 0}
.figure .value{font-size:3.6rem;line-height:1;font-weight:700;letter-spacing:-.03em;color:var(--accent);font-variant-numeric:tabular-nums}
.figure .unit{font-size:1.2rem;font-weight:600;color:var(--muted);margin-left:.35em}
.scroll{overflow-x:auto}
table.figures{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.95rem}
.figures th,.figures td{padding:5px 0 5px 26px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
.figures thead th{color:var(--muted);font-weight:500;font-size:.85rem}
.figures th[scope=row]{text-align:left;padding-left:0;font-weight:600}
.figures tbody tr:last-child>*{border-bottom:0}
.classes{width:100%;max-width:760px}
.classes .kind{color:var(--muted);text-align:left;font-size:.85rem}
.classes .bar{width:50%;min-width:70px}
.classes .bar span{display:block;height:9px;border-radius:5px;min-width:2px}
.bar .thing{background:var(--thing)}.bar .stuff{background:var(--stuff)}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));gap:18px 26px}
.charts.small{grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:14px 16px;margin-top:12px}
figure{margin:0}
svg.chart{display:block;width:100%;height:auto}
details{margin-top:16px}summary{cursor:pointer;color:var(--muted);font-size:.9rem;font-weight:600}
article{padding:0;border:0;border-top:1px solid var(--line);border-radius:0;padding-top:18px;margin-top:22px}
h2+article{border-top:0;margin-top:0;padding-top:0}
.pictures{display:grid;grid-template-columns:repeat(3,1fr);gap:12px}
.layers{display:grid;grid-template-columns:repeat(auto-fit,minmax(104px,1fr));gap:10px}
.layers figure{max-width:170px}
img{display:block;width:100%;height:auto;border-radius:6px}
img.picture,img.assignment{image-rendering:pixelated}
img.picture.smooth,img.assignment.smooth{image-rendering:auto}
img.assignment{border:1px solid var(--line)}
figcaption{font-size:.8rem;color:var(--muted);margin-top:4px;line-height:1.3}
dl{margin:0;font-size:.93rem}
dl div{display:grid;grid-template-columns:minmax(110px,190px) 1fr;gap:16px;padding:5px 0;border-bottom:1px solid var(--line)}
dl div:last-child{border-bottom:0}
dt{color:var(--muted)}dd{margin:0;overflow-wrap:anywhere}
ol{margin:0;padding-left:1.3em}li{margin-bottom:.5em}
pre{margin:.35em 0 0;padding:9px 12px;background:#f1f3f6;border-radius:8px;overflow-x:auto;font-size:.84rem;line-height:1.45}
code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
@media (max-width:640px){
 main{padding:18px 12px 40px}
 section,.headline{padding:16px 14px;border-radius:10px}
 .headline{grid-template-columns:1fr;gap:12px}
 .figures th,.figures td{padding-left:15px}
 .pictures{grid-template-columns:repeat(2,1fr);gap:8px}
 .pictures figcaption{font-size:.74rem}
 .layers{grid-template-columns:repeat(4,1fr);gap:6px}
 .layers figcaption{font-size:.68rem}
 .classes .kind{display:none}
 dl div{grid-template-columns:1fr;gap:0}
}
@media print{body{background:#fff}section,.headline{break-inside:avoid;border-color:#ccc}}
"""
