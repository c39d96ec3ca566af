// Asks /json once a second and draws the speed that follows from two answers.
"use strict";
(() => {
  const span = 120;       // seconds on the time axis
  const window_ = 6;      // the speed is taken over this many seconds: workers report about once a second
  const answers = [];     // {now, hashes}, oldest first
  const speeds = [];      // {now, speed}
  const text = (id, value) => { document.getElementById(id).textContent = value; };
  const canvas = document.getElementById("graph");
  const color = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function note(answer) {
    answers.push(answer);
    while (answers.length > 2 && answers[1].now <= answer.now - window_) answers.shift();
    const first = answers[0];
    if (answer.hashes < first.hashes) { answers.length = 0; return; } // redis was emptied
    const seconds = answer.now - first.now;
    if (seconds > 0.5) speeds.push({ now: answer.now, speed: (answer.hashes - first.hashes) / seconds });
    while (speeds.length && speeds[0].now < answer.now - span) speeds.shift();
  }

  // The axis ends at 1, 2 or 5 times a power of ten, so that it seldom changes.
  function ceiling(value) {
    const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
    return [1, 2, 5, 10].map(f => f * power).find(c => c >= value);
  }

  function draw() {
    const scale = window.devicePixelRatio || 1;
    const width = canvas.clientWidth, height = width / 3;
    canvas.width = width * scale;
    canvas.height = height * scale;
    const c = canvas.getContext("2d");
    c.scale(scale, scale);
    c.clearRect(0, 0, width, height);
    const left = 40, bottom = height - 24, top = 12, right = width - 12;
    const last = speeds.length ? speeds[speeds.length - 1].now : 0;
    const most = ceiling(Math.max(4, ...speeds.map(s => s.speed)));
    const x = now => right - (last - now) / span * (right - left);
    const y = speed => bottom - speed / most * (bottom - top);
    c.font = "12px system-ui, sans-serif";
    c.fillStyle = color("--soft");
    c.strokeStyle = color("--line");
    c.lineWidth = 1;
    for (let i = 0; i <= 4; i++) {
      const value = most * i / 4;
      c.beginPath(); c.moveTo(left, y(value)); c.lineTo(right, y(value)); c.stroke();
      c.textAlign = "right"; c.textBaseline = "middle";
      c.fillText(Number(value.toFixed(2)), left - 6, y(value));
    }
    c.textAlign = "center"; c.textBaseline = "top";
    for (let s = 0; s <= span; s += 30) c.fillText(s ? "-" + s + " s" : "now", x(last - s) - (s ? 0 : 10), bottom + 6);
    if (speeds.length < 2) return;
    c.strokeStyle = color("--accent");
    c.lineWidth = 2;
    c.lineJoin = "round";
    c.beginPath();
    speeds.forEach((s, i) => i ? c.lineTo(x(s.now), y(s.speed)) : c.moveTo(x(s.now), y(s.speed)));
    c.stroke();
  }

  async function tick() {
    try {
      const response = await fetch("json", { cache: "no-store" });
      if (!response.ok) throw new Error(await response.text());
      const answer = await response.json();
      note(answer);
      text("coins", answer.coins.toLocaleString("en"));
      text("hashes", answer.hashes.toLocaleString("en"));
      if (speeds.length) text("speed", speeds[speeds.length - 1].speed.toFixed(1));
      text("status", "");
    } catch (error) {
      text("status", "No figures just now: " + error.message);
    }
    draw();
  }

  tick();
  setInterval(tick, 1000);
  addEventListener("resize", draw);
})();
