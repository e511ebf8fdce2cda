"""Texts that audit tests share: one honest essay, its prompt, and the same in other languages."""

PROMPT = (
    "Write an essay that argues for a ban on cars in city centres. Your essay should include a clear thesis, evidence "
    "and a conclusion."
)
ESSAY = """\
Cities were built for people long before they were rebuilt for cars, and it is time to give their centres back. A ban
on private cars would make streets safer, cleaner and, surprisingly to many shopkeepers, richer.

Safety comes first. When Pontevedra closed its old town to through traffic in 1999, deaths on its streets fell from
thirty in a decade to three in the next. Children walk to school there alone. No campaign for careful driving has ever
come near that result, because a street without cars needs no careful drivers.

Shopkeepers fear that customers will stay away. The record says otherwise: where streets were closed in Madrid one
December, sales rose by almost a tenth. People who walk past a window can stop, while people who drive past it can't.

Critics answer that the old and the disabled depend on cars. They are right, and every working ban exempts them; what
they need is a street that is not full of everybody else's traffic. A centre without cars excludes nobody. It merely
asks most of us to walk the last few hundred metres, and it pays us back with air, quiet and time."""

GERMAN_PROMPT = "Schreibe einen Aufsatz über die Frage, ob die Autos aus der Innenstadt verbannt werden sollen."
GERMAN = """\
Die Stadt ist für die Menschen da und nicht für das Auto. Wer in der Mitte einer Stadt wohnt, der weiß, wie laut es dort
ist und wie schwer es fällt, mit einem Kind über die Straße zu gehen. Es ist an der Zeit, dass sich das ändert, und zwar
nicht nur am Sonntag. Auch die Händler werden davon mehr haben als sie glauben, denn wer zu Fuß geht, bleibt stehen."""
SPANISH = """\
La ciudad es de las personas y no de los coches. En el centro no se puede respirar por el humo, y el ruido no deja
dormir a los vecinos. Por eso es necesario que los coches se queden fuera, como en Pontevedra, donde los niños van
solos a la escuela y las tiendas venden más que antes, porque la gente que camina se para a mirar."""
RUSSIAN_PROMPT = "Напишите сочинение о том, нужно ли закрыть центр города для машин."
RUSSIAN = (
    "Город принадлежит людям, а не машинам. В центре трудно дышать, и шум не даёт спать. Поэтому машины должны "
    "остаться снаружи, как это сделали в Понтеведре, где дети сами ходят в школу, "
    "а магазины продают больше, чем раньше."
)
CHINESE_PROMPT = "请写一篇作文,讨论市中心是否应该禁止汽车。"
CHINESE = (
    "城市属于人,而不属于汽车。市中心空气不好,噪音让居民无法入睡。"
    "因此汽车应该留在城外,孩子们可以自己走路上学,商店的生意也会更好。"
)

POEM = """\
Do not go gently, said the sea to me,
The tide will turn before the light is gone.
I kept my boat and did not let it be,
Do not go gently, said the sea to me.

The gulls were crying over what they see,
The tide will turn before the light is gone.
My father rowed from here in forty-three,
Do not go gently, said the sea to me,
The tide will turn before the light is gone."""

CODE = """\
```python
def fibonacci(n: int) -> int:
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a
```"""

GRADING_PROMPT = "Write an essay that argues against letter grades in schools."
GRADING = """\
Every June a teacher sits over a pile of papers and turns a year of a child's life into a letter. Grades were invented
to sort pupils, and sorting is all that they do well. A judge in a court must give reasons for a sentence; a grade gives
none. When a girl receives a C for her first poem, she learns nothing about the poem and a great deal about herself.

Those who defend grades say that students deserve a clear score for their work, and that without marks nobody would try.
Finland shows the opposite. Its schools give no marks until the age of eleven or so, and its pupils read as well as any.
What they get in place of marks is a page on what they did and what to try next. Examiners find that harder to write,
which is the point: to assess a child takes more than a stamp."""
