// The lines of text of a page, each as it can be seen: cut by what scrolls or hides it.
const lines = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
function cut({left, right, top, bottom}, element) {
  let box = {left, right, top, bottom}; // a DOMRect cannot be spread
  for (let at = element; at && at !== document.body; at = at.parentElement) {
    const style = getComputedStyle(at);
    if (style.visibility === "hidden" || style.opacity === "0" || style.clipPath !== "none") return null;
    if (style.overflowX !== "visible") {
      const around = at.getBoundingClientRect();
      box = {left: Math.max(box.left, around.left), right: Math.min(box.right, around.right),
             top: Math.max(box.top, around.top), bottom: Math.min(box.bottom, around.bottom)};
    }
    if (style.position === "fixed") break;
  }
  return box.right - box.left > 1 && box.bottom - box.top > 1 ? box : null;
}
while (walker.nextNode()) {
  const node = walker.currentNode;
  if (!node.textContent.trim() || ["SCRIPT", "STYLE", "NOSCRIPT", "OPTION"].includes(node.parentElement.tagName)) continue;
  const range = document.createRange();
  range.selectNodeContents(node);
  for (const rect of range.getClientRects()) {
    const box = cut(rect, node.parentElement);
    if (box) lines.push({...box, text: node.textContent.trim().slice(0, 60), node});
  }
}
const problems = [];
const width = document.documentElement.clientWidth;
if (document.documentElement.scrollWidth > width) problems.push(`the page is ${document.documentElement.scrollWidth} wide, not ${width}`);
for (const line of lines)
  if (line.left < -1 || line.right > width + 1) problems.push(`outside: ${line.text}`);
for (const element of document.querySelectorAll("button, input, select, img, svg, .panel, .tile, .card, .row, .chip")) {
  const box = element.getBoundingClientRect();
  const seen = box.width && cut(box, element.parentElement);
  if (seen && (seen.left < -1 || seen.right > width + 1)) problems.push(`outside: ${element.className.baseVal ?? element.className}`);
}
for (let a = 0; a < lines.length; a++)
  for (let b = a + 1; b < lines.length; b++) {
    const one = lines[a], two = lines[b];
    if (one.node === two.node) continue;
    const across = Math.min(one.right, two.right) - Math.max(one.left, two.left);
    const down = Math.min(one.bottom, two.bottom) - Math.max(one.top, two.top);
    if (across > 2 && down > 4) problems.push(`overlap: ${one.text} / ${two.text}`);
  }
return [lines.length, problems.slice(0, 20)];
