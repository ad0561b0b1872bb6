window.seen = [];
document.addEventListener("securitypolicyviolation", (event) => seen.push(`CSP ${event.violatedDirective} ${event.blockedURI}`));
window.alert = (words) => seen.push(`alert ${words}`);
window.addEventListener("error", (event) => seen.push(`error ${event.message}`));
