"""The style of the example's pages, for desktop and phone, without anything from the network."""

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1f2933; background: #fff; margin: 0; }
main { max-width: 1180px; margin: 0 auto; padding: 40px 32px 80px; }
h1 { font-size: 28px; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 44px 0 10px; }
p { max-width: 46em; } p.sub { color: #5f6b7a; margin: 0 0 16px; } ul { padding-left: 1.2em; }
figure { margin: 0 -2.2%; } figure svg { display: block; width: 100%; height: auto; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; width: 100%; }
th, td { text-align: right; padding: 6px 10px; border-bottom: 1px solid #e3e7eb; white-space: nowrap; }
tfoot td { font-weight: 600; border-bottom: 0; }
th { font-weight: 600; color: #5f6b7a; }
th:first-child, td:first-child, td:last-child, th:last-child { text-align: left; }
td:last-child { white-space: normal; min-width: 24em; }
p, li { overflow-wrap: anywhere; }
@media (max-width: 700px) {
  main { padding: 24px 16px 60px; } h1 { font-size: 23px; }
  figure { overflow-x: auto; margin: 0 -16px; padding: 0 16px; } figure svg { width: 860px; }
}
.ok { color: #1a7f4b; } .bad { color: #b3261e; font-weight: 600; }
"""
