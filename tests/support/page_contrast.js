const context = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
function rgba(colour) {
  context.clearRect(0, 0, 1, 1);
  context.fillStyle = colour;
  context.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
  return [r, g, b, a / 255];
}
const over = (top, under) => [0, 1, 2].map((at) => top[at] * top[3] + under[at] * (1 - top[3]));
function ground(element) {
  const layers = [];
  for (let at = element; at; at = at.parentElement) layers.push(rgba(getComputedStyle(at).backgroundColor));
  return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255]);
}
function light(colour) {
  const [r, g, b] = colour.map((each) => each / 255).map((each) => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
const poor = new Set();
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (!walker.currentNode.textContent.trim() || !element.getClientRects().length || element.closest("noscript")) continue;
  const style = getComputedStyle(element), under = ground(element);
  const [high, low] = [light(over(rgba(style.color), under)), light(under)].sort((a, b) => b - a);
  const size = parseFloat(style.fontSize), big = size >= 24 || (size >= 18.66 && parseInt(style.fontWeight) >= 700);
  const ratio = (high + 0.05) / (low + 0.05);
  if (ratio < (big ? 3 : 4.5)) poor.add(`${element.tagName}.${element.className} ${ratio.toFixed(2)}: ${walker.currentNode.textContent.trim().slice(0, 30)}`);
}
return [...poor];
