"""Text generator for the storyteller-moe checkpoint: stories, sums, weather reports and recipes.

Everything the model ever reads is written by this file. Templates use two marks: `[a|b|c]`
picks one alternative (they nest; an empty one is allowed) and `{key}` inserts a value of the
text's context. `a~` becomes "a" or "an". A plot line that starts with `?` is left out more
often than not. Run `python data.py` to read a few texts.
"""

import random
import re

# ---------------------------------------------------------------- template engine

_cache = {}


def _parse(s, i=0, nested=False):
    """Parses `s` into a list of alternatives, each a list of parts (str or alternatives)."""
    alts, cur, lit = [], [], []
    while i < len(s):
        c = s[i]
        if c == "[":
            if lit:
                cur.append("".join(lit))
                lit = []
            sub, i = _parse(s, i + 1, True)
            cur.append(sub)
            continue
        if nested and c in "|]":
            if lit:
                cur.append("".join(lit))
                lit = []
            alts.append(cur)
            cur = []
            i += 1
            if c == "]":
                return alts, i
            continue
        lit.append(c)
        i += 1
    if nested:
        raise ValueError(f"unclosed [ in {s!r}")
    if lit:
        cur.append("".join(lit))
    return [cur], i


def _emit(alts, rng, out):
    for part in alts[int(rng.random() * len(alts))] if len(alts) > 1 else alts[0]:
        if type(part) is str:
            out.append(part)
        else:
            _emit(part, rng, out)


_KEY = re.compile(r"\{(\w+)\}")
_ART = re.compile(r"\b([Aa])~? (?=([a-z]+))")
_CAP = re.compile(r'(^|[.!?] |\." )([a-z])')
_AN = re.compile(r"^([aeio]|hones|u(?!nic|sef))")


def expand(template, ctx, rng, start=True):
    """The template's text; `start` says that it begins a sentence."""
    node = _cache.get(template)
    if node is None:
        node = _cache[template] = _parse(template)[0]
    out = []
    _emit(node, rng, out)
    s = "".join(out)
    for _ in range(3):  # values may hold keys themselves
        if "{" not in s:
            break
        s = _KEY.sub(lambda m: ctx[m.group(1)], s)
    s = _ART.sub(lambda m: (m.group(1) + "n " if _AN.match(m.group(2)) else m.group(1) + " "), s)
    return _CAP.sub(lambda m: m.group(0) if not start and m.start() == 0 else m.group(1) + m.group(2).upper(), s)


# ---------------------------------------------------------------- characters

GIRLS = """Ruby Lily Mia Anna Rosa Daisy Luna Nora Ella Ivy Hazel Clara Zoe Maya Poppy Stella Willow
Molly Lucy Alice Emma Sara Tess Nina Pearl Holly Greta Penny Ada Bella Flora Martha Rosie Sophie Grace Chloe
Lena Eva Kate Julia""".split()
BOYS = """Tom Max Leo Ben Sam Oscar Finn Hugo Otto Felix Jack Theo Milo Noah Toby Rusty Bruno Charlie
Henry Oliver Peter Arlo Jasper Gus Eli Ned Ralph Louis Simon Walter Barney Jonas Victor Albert
David Paul Daniel Adam Lucas Emil""".split()
ANIMALS = """fox rabbit bear mouse owl hedgehog squirrel deer badger otter frog duck cat dog turtle wolf
mole beaver sparrow goat pony lamb kitten puppy goose raccoon crow hen donkey penguin dragon lion
elephant monkey unicorn snail tiger zebra giraffe horse pig camel parrot hamster swan panda koala
kangaroo hippo rhino leopard cheetah seal whale dolphin octopus crab lobster shark fish toad lizard crocodile
alligator snake worm ant bee beetle spider butterfly moth ladybug cricket grasshopper dragonfly firefly rat bat weasel marten
lynx moose reindeer elk bison buffalo cow bull calf sheep ram mule llama alpaca rooster chick turkey
peacock pigeon dove robin wren finch swallow magpie raven eagle hawk falcon heron stork pelican flamingo ostrich seagull puffin
woodpecker kingfisher nightingale cuckoo canary chipmunk marmot porcupine skunk possum armadillo anteater sloth lemur gorilla chameleon gecko
iguana tortoise newt ferret meerkat hyena jackal coyote wombat yak troll dwarf elf fairy ghost giant pirate witch mermaid gnome""".split()
# the animals and persons that are always she (True) or always he
_ONLY = {"witch": True, "mermaid": True, "cow": True, "hen": True, "bull": False, "rooster": False, "ram": False}
HELD_OUT_ANIMALS = "walrus platypus gazelle baboon hare jaguar wallaby phoenix ocelot pheasant".split()
PEOPLE = """baker gardener shepherd painter farmer sailor tailor miller fisher wizard knight robot teacher doctor carpenter
librarian postman musician dancer potter blacksmith astronaut explorer inventor juggler clown beekeeper hunter nurse""".split()
ADJ = """small little young brave shy curious clever kind gentle cheerful quiet sleepy proud playful
lonely merry honest patient busy stubborn happy friendly lazy hungry wise tiny old careful""".split()
# real names that are rarer in the stories, and some that no training text has
MORE_GIRLS = """Abigail Adele Agnes Aisha Alma Amelia Amina Amy Andrea Angela Anita Annika Ariel Astrid Audrey Aurora Ava Barbara
Beatrice Becky Betty Bonnie Brenda Bridget Camilla Carla Carmen Carol Cecilia Celia Charlotte Claire Cora Cynthia Dagmar Dana Daphne Deborah
Delia Diana Dolores Dora Doris Dorothy Edith Eileen Elena Eleanor Elise Eliza Elizabeth Elsa Emily Erica Esther Ethel Evelyn Fatima Fay
Felicity Fiona Frances Frida Gabriela Gemma Georgia Gerda Gloria Gwen Harriet Hedwig Heidi Helen Helga Henrietta Hilda Ida Ines Ingrid
Irene Iris Isabel Isla Jane Janet Jasmine Jenny Jessica Joan Johanna Josephine Joyce Judith Juliet Karen Katarina Kathleen Kim Kira Klara
Lara Laura Lea Leila Leonie Lina Linda Lisa Lola Lotte Louisa Lydia Mabel Madeleine Mae Magda Margaret Maria Marion Marta Mary Matilda
Maud Megan Melanie Mildred Mina Miriam Mona Monica Muriel Nadia Nancy Naomi Natalie Nelly Nicole Noemi Olga Olive Olivia Pamela Paula
Petra Phoebe Polly Priya Quinn Rachel Rebecca Regina Renata Rhoda Rita Roberta Rosalind Rosemary Roxanne Ruth Sabine Sally Samantha Sandra
Selma Sheila Shirley Sigrid Silvia Sonja Stephanie Susan Sybil Sylvia Tabitha Tamara Tania Thelma Theresa Tilda Tina Trudy Una Ursula Valerie
Vera Veronica Victoria Viola Violet Vivian Wanda Wendy Wilma Winifred Xenia Yasmin Yvonne Zara Zora""".split()
MORE_BOYS = """Aaron Abel Ahmed Aidan Alan Alastair Albin Aldo Alec Alex Alfred Ali Allan Alvin Amos Andre Andrew Angus Anthony Anton Archie Arthur
Arvid Axel Barnaby Barry Bart Basil Benedict Benjamin Bernard Bert Bjorn Bob Boyd Bradley Brendan Brian Bryce Caleb Calvin Carl Cedric Chester
Chris Clarence Claude Clifford Clive Colin Conrad Craig Curtis Cyril Damian Dennis Derek Desmond Dieter Dominic Donald Douglas Duncan Dustin Dylan Edgar
Edmund Edward Edwin Elliot Elmer Elvis Emmett Eric Ernest Erwin Ethan Eugene Evan Ezra Fabian Fergus Floyd Francis Frank Fred Fritz Gareth Garrett
Gavin George Gerald Gideon Gilbert Giles Glen Gordon Graham Gregory Gustav Hamish Hans Harold Harry Harvey Hector Herbert Herman Homer Horace Howard
Hubert Humphrey Ian Igor Isaac Ivan Ivo Jacob Jake James Jan Jared Jason Jeff Jeremy Jerome Jesse Jim Joe Joel Johan John Jordan Joseph Joshua Julian
Karim Karl Keith Kenneth Kevin Klaus Knut Kurt Kyle Lambert Lance Lars Lawrence Leander Leonard Leroy Leslie Lester Lewis Liam Linus Lloyd Logan Lorenzo
Luke Magnus Malcolm Manuel Marcel Marco Marcus Mario Martin Marvin Matthew Maurice Maxwell Mervyn Michael Miguel Mike Mohammed Morris Morton Moses
Murray Nathan Neil Nestor Nicholas Nigel Norbert Norman Olaf Omar Orlando Orson Osbert Oswald Owen Pablo Pascal Patrick Pedro Percy Philip Quentin Rafael
Ramon Randolph Raymond Reginald Rex Richard Robert Rodney Roger Roland Roman Ronald Rory Ross Roy Rudolf Rufus Rupert Russell Samir Samuel Sandro Scott
Sean Sebastian Seth Sidney Silas Sven Stanley Stefan Stephen Steven Stuart Sylvester Tariq Ted Terence Thaddeus Thomas Tim Timothy Tobias Todd
Tony Travis Trevor Tyler Ulrich Vernon Vincent Vito Vladimir Waldo Wallace Warren Wayne Wesley Wilbur Wilfred William Winston Wolfgang Xavier Yannick
Yusuf Zachary Zeno""".split()
HELD_OUT_NAMES = """Zelda Boris Hannah Manuela Caroline Dmitri Mortimer Ophelia Beverly Kathryn Leopold Penelope Yolanda Ferdinand Gwendolyn Ignatius
Jolene Kasimir Lorelei Montgomery Nikita Octavia Philippa Quincy Ramona Sheldon Tallulah Ulysses Valentina Wendell Yvette Zebedee Bianca
Clementine Dexter Esmeralda Geoffrey Harrison Imogen Jethro""".split()
_ALLNAMES = set(GIRLS) | set(BOYS) | set(MORE_GIRLS) | set(MORE_BOYS) | set(HELD_OUT_NAMES)
_HEAD = "b c d f g h j k l m n p r s t v w z".split() * 3 + "br ch cl dr fl fr gl gr kl kr pl pr qu sh sk sl sn st th tr tw y".split()
_CORE = "aeiou" * 6 + "y"
_PAIR = "ai au ea ee ei ia ie io oo ou".split()
_CODA = "n s l r n s l r x k m t d b g p nd rt ck lf ng th rn ll z".split()
_SPLIT = re.compile(r"(?<=[^aeiouy])(?=[aeiouy])")
with open(__file__) as _f:
    _USED = set(re.findall(r"[a-z]+", _f.read().lower()))


def invented_name(rng):
    """A pronounceable name of 3 to 9 letters that is neither a word nor a name of this file."""
    while True:
        if rng.random() < 0.5:  # the start of one real name and the end of another
            first, second = (rng.choice(rng.choice((GIRLS, BOYS, MORE_GIRLS, MORE_BOYS))).lower() for _ in range(2))
            cuts, ends = [m.start() for m in _SPLIT.finditer(first)], [m.start() for m in _SPLIT.finditer(second)]
            if not cuts or not ends:
                continue
            name = first[:rng.choice(cuts)] + second[rng.choice(ends):]
        else:  # random syllables
            name = "" if rng.random() < 0.85 else rng.choice("aeiou") + rng.choice(["", "l", "n", "r"])
            for _ in range(rng.choice((1, 2, 2, 2, 3))):
                if name and name[-1] in _CORE and rng.random() < 0.2:
                    name += rng.choice("nslrm")
                name += rng.choice(_HEAD) + rng.choice(_CORE if rng.random() < 0.85 else _PAIR)
            name += rng.choice(_CODA) if rng.random() < 0.5 else ""
        if 3 <= len(name) <= 9 and name not in _USED and not re.search(r"(.)\1\1|[^aeiouy]{4}|[aeiouy]{3}", name):
            return name.capitalize()


COLORS = "red blue green yellow purple orange silver golden little old white pink".split()
THINGS = """scarf hat kite lantern basket drum flute whistle bell button blanket key ball teapot umbrella
book spoon mitten ribbon necklace backpack marble compass paintbrush cup mirror spinning-top""".split()
THINGS[-1] = "toy boat"
KIN = ["mother", "father", "grandmother", "grandfather", "aunt", "uncle", "sister", "brother"]


def character(rng, taken=(), kind=None, name=None):
    girl = rng.random() < 0.5 if kind is None else _ONLY.get(kind, rng.random() < 0.5)
    while name is None or name in taken:
        r = rng.random()
        if r < 0.45:
            name = rng.choice(GIRLS if girl else BOYS)
        elif r < 0.65:
            name = rng.choice(MORE_GIRLS if girl else MORE_BOYS)
        else:
            name = invented_name(rng)
    while kind is None or _ONLY.get(kind, girl) != girl:
        r = rng.random()
        if r < 0.74:
            kind = rng.choice(ANIMALS[:47] if rng.random() < 0.5 else ANIMALS)  # the first ones are more common
        elif r < 0.88:
            kind = rng.choice(PEOPLE)
        elif r < 0.96:
            kind = "girl" if girl else "boy"
        else:
            kind = "princess" if girl else "prince"
    return name, kind, girl


# ---------------------------------------------------------------- places

# home phrases, the land's name, spots, what can be seen there
LANDS = [
    (["in a quiet forest", "at the edge of a deep forest", "in a little house in the forest", "in the middle of a green forest"], "forest",
     ["under the old oak tree", "behind the mossy log", "beside the quiet stream", "near the blackberry bushes", "inside the hollow stump", "under the tall ferns", "by the little waterfall", "behind the big pine tree"],
     ["The birds were singing in the trees.", "The leaves danced in the wind.", "The forest smelled of pine and rain.", "Sunlight fell softly between the branches."]),
    (["in a small village", "in a village at the foot of a hill", "in a tiny house in the village", "in a village by the river"], "village",
     ["behind the bakery", "near the old well", "beside the stone bridge", "under the market stalls", "in front of the clock tower", "behind the blue barn", "next to the mill", "near the village gate"],
     ["The smell of fresh bread filled the air.", "The church bells were ringing.", "The streets were full of people.", "Smoke rose from the chimneys."]),
    (["on a busy farm", "on a farm with a red barn", "on a small farm near the hills", "on an old farm"], "farm",
     ["inside the hay barn", "behind the chicken coop", "beside the duck pond", "under the apple tree", "near the wooden gate", "inside the old wagon", "among the pumpkins", "behind the water trough"],
     ["The cows were resting in the shade.", "The rooster crowed from the fence.", "The fields were yellow with wheat.", "The hay smelled sweet."]),
    (["by the sea", "in a little house by the sea", "on a sunny island", "near a long sandy beach"], "beach",
     ["under the old boat", "behind the tall rocks", "near the lighthouse", "beside the tide pool", "among the seashells", "inside the small cave", "next to the fishing nets", "under the palm tree"],
     ["The waves rolled softly onto the sand.", "Seagulls flew over the water.", "The sea sparkled in the sun.", "The air tasted of salt."]),
    (["high in the mountains", "in a wooden cabin in the mountains", "on the side of a snowy mountain", "in a green valley between two mountains"], "mountain",
     ["behind the gray boulder", "near the clear spring", "inside the narrow cave", "beside the goat path", "under the lone pine tree", "behind the wooden cabin", "near the rope bridge", "on the flat rock"],
     ["Snow shone on the highest peaks.", "An eagle circled in the sky.", "The wind whistled between the rocks.", "The air was fresh and clear."]),
    (["in a wide meadow", "in a sunny meadow", "in a cozy home beside a meadow", "at the edge of a flowery meadow"], "meadow",
     ["among the tall sunflowers", "under the willow tree", "beside the winding brook", "behind the stone wall", "near the beehives", "in the long grass", "under the rose bush", "beside the round hill"],
     ["Bees hummed around the flowers.", "Butterflies flew from flower to flower.", "The grass was soft and green.", "The clouds looked like sheep."]),
    (["beside a blue lake", "in a small house by a lake", "near a calm lake", "on the shore of a wide lake"], "lake",
     ["under the wooden dock", "among the reeds", "beside the water lilies", "behind the boathouse", "near the beaver dam", "by the smooth stones", "under the weeping willow", "near the old rowboat"],
     ["Little fish jumped in the water.", "The lake was as smooth as glass.", "Dragonflies danced over the water.", "Mist floated above the lake."]),
    (["in a busy town", "in a tall house in town", "above a toy shop in town", "in a town with crooked streets"], "town",
     ["behind the library", "near the fountain", "under the park bench", "beside the flower shop", "in front of the train station", "next to the toy shop", "behind the school", "near the old statue"],
     ["The shops were just opening.", "A man was selling balloons in the square.", "The street lamps were glowing.", "Pigeons walked around the square."]),
    (["in an old castle", "in a castle on a hill", "in a small tower beside a castle", "in a castle with a hundred rooms"], "castle",
     ["behind the throne", "inside the tall tower", "near the rose garden", "beside the moat", "under the long table", "behind the kitchen door", "near the stables", "under the stone stairs"],
     ["Flags waved from the towers.", "The halls were quiet and cool.", "A fire was burning in the great hall.", "The cook was baking sweet rolls."]),
]

INLAND = {"farm": "on the farm", "beach": "on the beach", "mountain": "on the mountain", "lake": "by the lake"}

TIMES = ["One [sunny|bright|cold|foggy|rainy|windy|warm|quiet|gray|fine] [morning|afternoon|day]", "One day",
         "Early one morning", "On the first day of [spring|summer|autumn|winter]", "One [Monday|Sunday|Friday] morning",
         "One [spring|summer|autumn|winter] [morning|day]"]

# to ..., ...ing
HOBBIES = [("sing songs", "singing songs"), ("paint pictures", "painting pictures"), ("collect shiny stones", "collecting shiny stones"),
           ("watch the clouds", "watching the clouds"), ("read old books", "reading old books"), ("dance in the rain", "dancing in the rain"),
           ("tell funny jokes", "telling funny jokes"), ("bake little cakes", "baking little cakes"), ("look at the stars", "looking at the stars"),
           ("pick wild flowers", "picking wild flowers"), ("play hide and seek", "playing hide and seek"), ("go for long walks", "going for long walks"),
           ("climb tall trees", "climbing tall trees"), ("drink warm milk with honey", "drinking warm milk with honey"),
           ("listen to old stories", "listening to old stories"), ("swim in cold water", "swimming in cold water"), ("make paper boats", "making paper boats"),
           ("sleep in the sun", "sleeping in the sun"), ("count the stars", "counting the stars"), ("play the flute", "playing the flute")]

FOODS = ["apple pie", "blueberry cake", "honey cake", "loaf of warm bread", "bowl of strawberries", "pot of pumpkin soup", "basket of cherries",
         "cheese pie", "plate of pancakes", "plum cake", "basket of pears", "carrot cake", "jar of honey", "bag of roasted nuts", "bowl of raspberries"]

OPEN = ["Once upon a time, a~ {A} {K} named {N} lived {home}.",
        "Once upon a time, there was a~ {A} {K} named {N} who lived {home}.",
        "Once upon a time, a~ {A} {K} named {N} lived {home} with {his} {kin}.",
        "Once upon a time, {home}, there lived a~ {A} {K} [named|called] {N}.",
        "Once upon a time there was a~ {A} {K} named {N}. {He} lived {home}.",
        "Once upon a time, a~ {A} and {B} {K} named {N} lived {home}.",
        "Once upon a time, there lived a~ {K} named {N}. {He} was {A} and {B}, and {he} lived {home}.",
        "Once upon a time, a~ {K} named {N} lived {home}. [Everyone knew that {N}|{He}] was [very|quite] {A}[ and {B}|].",
        "Once upon a time, {N} the {K} lived {home}. {He} was [very|quite] {A}[, and everyone liked {him}|].",
        "Long ago, a~ {A} {K} named {N} lived {home}.",
        "There was once a~ {A} {K} named {N}, and {he} lived {home}.",
        "{home}, there lived a~ {A} {K} [named|called] {N}."]
_OPEN_W = [6, 6, 2, 4, 3, 3, 2, 3, 2, 2, 2, 2]

TRAIT = ["[{N}|{He}] loved {hobing}[ more than anything else| with all {his} heart|].",
         "Every [morning|day|evening], {he} liked to {hob}.",
         "{N} liked to {hob}[, and {he} did it every day| when the weather was fine|].",
         "{He} was very good at {hobing}.",
         "[More than anything|Most of all], {N} [loved|liked] to {hob}.",
         "{His} favorite thing in the world was {hobing}.",
         "{N} had a [small|cozy|warm|neat] [room|house|bed] and a {thing} that {he} loved."]

END = ["That night, {N} fell asleep with a smile.", "{N} smiled all the way home.", "It was the best day {N} had ever had.",
       "From that day on, {N} and {N2} were [the best of friends|never apart for long].", "And [they|{N} and {N2}] lived happily ever after.",
       "{N} never forgot that day.", "That evening, {N} told {his} {kin} the whole story.", "And when the stars came out, {N} was the happiest {K} {inland}.",
       "{N} and {N2} still laugh about it today.", "And so the day ended with a [warm hug|happy song|cup of hot tea]."]

# ---------------------------------------------------------------- plots: (topics for chat, lines)

PLOTS = [
    (["a lost {thing0}", "someone who loses a {thing0}", "looking for a {thing0}"], """
[{time}, {N} could not find {his} {thing}.|{time}, {N} lost {his} {thing}.|{time}, {N} woke up and saw that {his} {thing} was gone.|{time}, {N} noticed that {his} {thing} was missing.]
?[It was a gift from {his} {kin}, and {he} loved it very much.|{He} took it with {him} everywhere {he} went.|It was the thing {he} loved most of all.]
["Oh no, where is my {thing0}?" [cried|asked] {N}.|{N} was so [sad|upset] that {he} almost cried.|"I must find my {thing0}," said {N}.|"My {thing0} cannot be far away," {N} said to {self}.]
[First, {he}|{He}] looked {at1} and {at2}, but [it was not there|the {thing0} was nowhere to be seen|{he} found only [dust|dry leaves|an old shoe]].
[Then {he} asked {F1} for help.|Then {he} met {F1}.|Soon {F1} came by.]
"Have you seen my {thing}?" asked {N}.
["No, but I will help you look for it," said {N2}.|"Not today, but two can search better than one," said {N2}.|"Do not worry, we will find it together," said {N2}.|{N2} shook {his2} head. "No, but let us look for it together."]
?[Together they searched the whole {search}.|The two friends looked everywhere.|They searched all afternoon.|They walked slowly and looked very carefully.]
[At last|Finally|Just before dark], they found the {thing} {at3}.
?[The wind had carried it there.|A cheeky magpie had hidden it there.|It had been there all the time.|{N} remembered that {he} had played there the day before.]
["Thank you, {N2}!" [cried|said] {N}[ with a big smile| happily|].|{N} hugged {N2} and danced with joy.|{N} was so happy that {he} hugged {N2}.]
[From then on, {N} always kept {his} {thing0} in a safe place.|{N} held the {thing0} tightly all the way home.|After that, {N} never left the {thing0} behind again.]"""),

    (["a lost {baby}", "helping a {baby}", "a {baby} that needs help"], """
[{time}, {N} heard a [soft|sad|tiny] cry {at1}.|{time}, while {he} was picking flowers, {N} heard a [soft|sad|tiny] cry.]
[There {he} found a {baby} all alone.|It was a {baby}, cold and all alone.|A {baby} was sitting there and shaking with fear.]
["Where is your mother?" asked {N}.|"Do not be afraid, I will help you," said {N}.|"You poor little thing," said {N} softly.] [But the {baby} only cried.|The {baby} looked up with big eyes.]
[{N} gave it some [water|bread|warm milk] and wrapped it in {his} {thing0c}.|{N} picked it up gently and kept it warm.|{N} sat down beside it and sang a quiet song.]
[Then {he} went to {F1} for advice.|On the way, {he} met {F1}.]
[{N2} thought for a moment. "I saw its family {at2} this morning," {he2} said.|"I think its mother lives {at2}," said {N2}.|"Let us ask the wise owl," said {N2}. The owl told them to look {at2}.]
[So they carried the {baby} there together.|They walked there as fast as they could.|Step by step, they went there together.]
?[The way was long, but {N} did not give up.|Once they had to cross a cold stream.|{detail}]
[At last they saw the mother, who was looking for her little one.|There stood the worried mother, calling and calling.|Soon they heard the mother calling for her little one.]
[The {baby} ran to her and was safe again.|The {baby} gave a happy cry and ran to her.|How happy the {baby} was to be home!]
?["Thank you, {N} and {N2}," said the mother. "You have good hearts."|"I will never forget your kindness," the mother said to {N}.]
[{N} felt warm and happy inside.|{N} was proud that {he} had helped.|{N} waved until they were out of sight.]"""),

    (["a birthday present", "making a gift for a friend", "a birthday"], """
[The birthday of {F1} was coming soon.|Tomorrow was the birthday of {F1}.|In two days it would be the birthday of {F1}.]
[{N} wanted to give {N2} something special, but {he} had no money.|{N} had no present yet, and {he} began to worry.|{N} looked in every shop, but everything cost too much.]
["What can I do?" [asked {N}|{he} sighed].|{N} sat down {at1} and thought hard.|{N} went for a walk and thought about it all day.]
[Then {he} had an idea.|Suddenly {he} had a good idea.|Then {he} saw something {at2} and had an idea.] "I will make {agift} with my own hands," {he} said.
[{He} worked all day and half the night.|{He} worked so hard that {he} forgot to eat.|It took a long time, but {he} did not stop.]
?[Once it almost broke, and {he} had to start again.|{His} {kin} gave {him} some good advice.|It was not easy, and {his} fingers were sore.]
[In the morning, {thegift} was ready.|When the sun came up, {thegift} was finished at last.]
[{N} was nervous when {he} knocked on {N2}'s door.|At the party, {N} felt shy and gave it to {N2} last of all.|{N} wrapped it in green leaves and brought it to {N2}.]
["Did you make this for me?" asked {N2}. {His2} eyes were shining.|{N2} opened it slowly and began to smile.|{N2} jumped for joy.]
["It is the most beautiful present of all," said {N2}.|"This is better than anything from a shop," said {N2}.|"I will keep it forever," said {N2}.]
?[They ate cake together and danced until the moon came up.|Then they shared a big birthday cake.|They laughed and sang until late.]
{N} learned that [a gift from the heart is the best gift|a present does not need to cost money]."""),

    (["a storm", "a stormy night", "a big storm"], """
[{time}, dark clouds came over the {land}.|{time}, the sky turned black.|{time}, the wind began to howl.]
["A storm is coming," said {N}, and {he} ran to close the windows.|{N} hurried inside and lit a small lamp.|{N} put a log on the fire and listened to the thunder.]
?[Soon the rain was falling hard.|The rain fell and the thunder roared.|Lightning flashed across the sky.]
[Then there was a knock at the door.|Suddenly someone knocked at the door.|Then {he} heard a weak knock.] It was {F1}, [wet and cold|wet from head to toe|shaking with cold].
["The wind has blown away my roof," said {N2}.|"The water has come into my house," said {N2}.|"A tree fell on my house," cried {N2}. "I have nowhere to go."]
["Come in and stay with me," said {N}.|"My home is small, but there is room for two," said {N}.|{N} opened the door wide. "Come in and get warm," {he} said.]
[{N} gave {N2} a dry blanket and a bowl of hot soup.|{N} made hot tea and gave {N2} {his} best blanket.|They sat by the fire and shared some bread and cheese.]
?[All night long, they told each other stories.|The storm was loud, but together they were not afraid.|They sang songs until the thunder went away.]
[In the morning, the storm was over.|When they woke up, the sun was shining.|The next day, the sky was blue again.]
[Together they went to repair {N2}'s house.|{N} took {his} tools and helped {N2} to build a new roof.|All the neighbors came to help, and {N} worked the hardest.]
["You are a true friend," said {N2}.|"I will never forget this," said {N2}.|"Thank you, {N}. Now I know what a friend is," said {N2}.]
[{N} smiled. Even the worst storm had brought something good.|{N} only smiled, because helping had made {him} happy.|From then on, they ate dinner together every Sunday.]"""),

    (["being afraid", "someone who is afraid of {fear}", "being brave", "courage"], """
[But {N} had a secret. {He} was afraid of {fear}.|There was only one problem. {N} was afraid of {fear}.|But there was one thing that scared {him}, and that was {fear}.]
?[Some of the others laughed at {him}.|{He} never told anyone about it.|{He} often stayed at home because of it.|Sometimes {he} even dreamed about it.]
[{time}|One day], {F1} [came to visit|came by] and [asked|said], "Will you come for a walk with me?"
["I cannot go," said {N}. "I am afraid of {fear}."|{N} looked at the ground. "I am too scared," {he} said.|{N} began to shake. "Please do not laugh, but I am afraid of {fear}," {he} said.]
["Everyone is afraid of something," said {N2} kindly.|{N2} did not laugh. "I was afraid too when I was small," {he2} said.|"Being brave means to try even when you are scared," said {N2}.]
{advice}
[{N} took a deep breath.|{N} held {N2}'s hand and closed {his} eyes.|{N}'s heart was beating fast.|{N} counted slowly to ten.] [Then {he} took one small step, and then another.|"I will try," {he} said.|"One, two, three," {he} said, and went on.]
[It was not as bad as {he} had thought.|After a while, the fear became smaller and smaller.|Slowly, the fear went away.]
{result}
["I did it!" cried {N}.|"Look, I am not afraid anymore!" shouted {N}.|{N} laughed out loud. "I did it!"]
?[{N2} was very proud of {him}.|"I knew you could do it," said {N2}.|"You are the bravest {K} I know," said {N2}.]
[From that day on, {N} was not afraid of {fear} anymore.|Now {N} helps others who are afraid.|{N} learned that a friend makes every fear smaller.]"""),

    (["sharing", "sharing food", "a {K} who learns to share"], """
[{time}, {N} [made|got] a {food}.|{time}, {N}'s {kin} gave {him} a {food}.|{time}, {N} won a {food} at the fair.]
[It smelled so good that {he} wanted to eat it all alone.|"This is all for me," said {N}.|{He} did not want to share it with anyone.|"I will hide and eat it all by myself," thought {N}.]
[So {he} sat down {at1}, where no one could see {him}.|{He} carried it to a quiet place {at1}.|{He} looked left and right and sat down {at1}.]
[Just then|A moment later|But then], {F1} came along. {N2} looked [tired and hungry|thin and sad|very hungry].
["What smells so good?" asked {N2}.|"I have not eaten since yesterday," said {N2} quietly.|"Hello, {N}," said {N2}. "May I sit with you?"]
[{N} wanted to say nothing and hide the food.|At first, {N} held the food tightly.|{N} did not answer for a long time.] [But then {he} saw {N2}'s sad eyes.|But then {his} heart grew soft.|But then {he} remembered how it feels to be hungry.]
["Here, take half of it," said {N}.|"Sit down and eat with me," said {N}.|{N} cut it into two equal parts. "One for you and one for me," {he} said.]
?[{N2} smiled for the first time that day.|{N2} could not believe it.|{N2}'s face lit up.] "[Thank you|You are very kind|You are a good friend], {N}," {he2} said.
[They ate together and told each other jokes.|They sat in the sun and ate until nothing was left.|They ate slowly and talked about many things.]
[To {his} surprise, the food tasted even better that way.|"It tastes better when we share it," said {N}.|It was the best meal {N} had ever eaten.]
?[The next day, {N2} brought {N} a {food2}.|A week later, {N2} came back with a {food2} for {N}.]
[After that, {N} always shared {his} food.|And {N} learned that sharing makes everything sweeter.|From then on, {N} never ate alone again.]"""),

    (["learning to {skill}", "a {K} who wants to {skill}", "practice"], """
[More than anything, {N} wanted to learn to {skill}.|{N} had one big dream. {He} wanted to {skill}.|{time}, {N} saw someone {skilling} and wanted to learn it too.]
[{time}, {he} tried it for the first time, but {fail}.|The first time {he} tried, {fail}.|{He} tried it when nobody was looking, but {fail}.]
?[Some of the others laughed.|{N} was so angry that {he} kicked a stone.|"I will never learn it," said {N} sadly.|{N} sat down and almost gave up.]
[Then {F1} sat down next to {him}.|{F1} had seen everything.|{F1} came over to {him}.]
["Nobody can do it the first time," said {N2}.|"It took me a whole year to learn it," said {N2}.|"You only need to practice a little every day," said {N2}.] ["Come, I will show you."|"Let us try it together."|"Watch me and then try again."]
[So they practiced every day before breakfast.|Every [morning|evening], they met and practiced.|Day after day, {N} practiced {skilling}.]
[Sometimes it went well, and sometimes it did not.|Slowly, {N} got better and better.|{N} made many mistakes, but {he} learned from each of them.]
?["Again," said {N2} every time. "Once more."|When {he} was tired, {N2} made {him} laugh.|Even when it rained, {he} did not stop.]
[On the day of the [big|summer|village] festival, {N} showed everyone what {he} had learned.|After three weeks, {N} could do it all alone.|Then, one fine day, everything went right.]
[Everyone clapped and cheered.|Everyone {inland} clapped for {him}.|"Bravo!" shouted {N2}.|{N2} clapped the loudest of all.]
["I could not have done it without you," {N} said to {N2}.|"Thank you for believing in me," {N} said to {N2}.]
[{N} learned that practice makes perfect.|And {N} knew that {he} could learn anything if {he} did not give up.|Now {N} teaches the little ones how to {skill}.]"""),

    (["a strange {noise}", "a mystery at night", "a strange night"], """
[One night, {N} woke up because of a strange {noise}.|Late one night, {N} noticed a strange {noise}.|One dark night, a strange {noise} woke {N}.]
[It came from somewhere {at1}.|It seemed to come from {at1x}.]
[{N} pulled the blanket over {his} head.|"Is it a monster?" whispered {N}.|{His} heart beat fast.|"What could that be?" {he} thought.]
[But {he} was too curious to go back to sleep.|But {he} wanted to know what it was.|After a while, {he} took a lamp and went to the door.]
[On the way, {he} woke {F1}.|{He} ran to {F1} and asked for help.|First {he} went to {F1}, because {he} did not want to go alone.]
["Did you notice it too?" asked {N2}.|"Let us go and see," said {N2}.|{N2} was scared too, but {he2} came along.] ["Stay close to me," said {N}.|"We must be very quiet," whispered {N}.|"Hold my hand," said {N}.]
?[Step by step, they walked through the dark.|They walked on tiptoe and hardly dared to breathe.|The moon was hidden behind the clouds, and the way was dark.]
[When they came closer, they began to laugh.|Then {N} lifted the lamp, and they both stopped.|Then they saw it, and all their fear was gone.]
{reveal}
[{N} and {N2} laughed with relief.|"And we thought it was a monster!" laughed {N2}.|"So that was the whole mystery," said {N}.]
[They sat there for a while and watched the stars.|Then they went home and slept until noon.|They drank some warm milk and went back to bed.]
[From that night on, {N} was not afraid of strange noises.|{N} learned that most scary things are not scary when you look closely.|And {N} never needed a lamp to fall asleep again.]"""),

    (["telling the truth", "a broken {vase}", "honesty"], """
[{time}, {N} was playing in the house of {F1}.|{time}, {N} visited {F1}.|{time}, {N} was a guest in the home of {F1}.]
[{N2} went out to get some [milk|water|wood], and {N} began to [dance|jump|run] around the room.|While {N2} was making tea, {N} threw a ball into the air.]
[Crash! The {vase} fell down and broke.|Then there was a loud crash. {N2}'s {vase} was broken.|{He} bumped into the table, and the {vase} fell to the floor and broke.]
?[It was the {vase} that {N2} loved most.|{N2} had got it from {his2} {kin}.]
["Oh no," whispered {N}.|{N} turned pale.|{N} wished that {he} could run away.] [For a moment, {he} thought about hiding the pieces.|"I could say that it was the wind," {he} thought.|"Nobody saw me," {he} thought.]
[But {he} knew that this would be wrong.|But a lie would feel even worse.|But {he} did not want to lie to a friend.]
[When {N2} came back, {N} told {him2} everything.|{N} went to {N2} and said, "I broke your {vase}. I am so sorry."|"It was my fault," said {N} with tears in {his} eyes.]
[{N2} was quiet for a long time.|{N2} looked at the pieces and sighed.|First {N2} was sad.] [Then {he2} took {N}'s hand.|Then {he2} smiled a little.|Then {he2} put an arm around {N}.]
["A {vase} can be mended, but a lie is hard to mend," said {N2}.|"I am sad, but I am glad that you told me the truth," said {N2}.|"Thank you for being honest," said {N2}. "That took courage."]
[Together they glued the pieces {place2}.|They glued the {vase} together, piece by piece.|The next day, {N} made a new one and painted it with flowers.]
?[It was not perfect, but they both loved it.|Now it looked even more beautiful than before.|{N2} put it in the window for everyone to see.]
[{N} learned that the truth is always better.|From then on, {N} always told the truth.|And their friendship was stronger than before.]"""),

    (["a race", "a great race", "a {K} in a race"], """
[{time}, there was a big race {inland}.|{time}, everyone came together for the great race.|Every year there was a race {around}, and this year {N} wanted to win it.]
[The first prize was a {thing}.|The winner would get a {thing}.|{N} had practiced for weeks.]
?["I am the fastest of all," said {N}.|{N} stood at the start and could hardly wait.|"Today I will win," {N} said to {self}.]
[Among the runners was {F1}.|Next to {him} stood {F1}.] ["Good luck, {N}," said {N2}.|"May the best one win," said {N2}.|{N2} shook hands with {him}.]
["One, two, three, go!" [called|shouted] the old owl.|A bell rang, and they all ran off.|A flag went down, and the race began.]
[Soon {N} was ahead of everyone.|{N} ran like the wind and passed one after another.|At first {N} was last, but {he} got faster and faster.]
[Then {he} heard a cry. {N2} had fallen over a root and hurt {his2} leg.|But behind the last turn, {he} saw {N2}, who had fallen and could not get up.]
[{N} could see the finish line. But {he} turned around.|{N} stopped at once. The prize was not important anymore.|"I can win," thought {N}, "or I can help."] ["Lean on me," {he} said to {N2}.|{He} ran back and helped {N2} to stand up.]
[Slowly, they walked to the finish together.|Arm in arm, they walked on while the others ran past them.|They were the last ones to arrive.]
[But everyone cheered for them louder than for the winner.|But the crowd clapped and threw flowers.|But nobody laughed. Everyone was clapping.]
[The old owl gave {him} a special prize for {his} kind heart.|The winner came over and gave {N} the {thing}. "You are the real winner," {he3} said.|"You could have won," said {N2}. "But I have won a friend," said {N}.]
[{N} learned that a friend is worth more than a prize.|It was the best race of {his} life.]"""),

    (["building a {build}", "a {build}", "working together"], """
[{time}, {N} wanted to build a {build}.|{time}, {N} decided to build a {build} all alone.|For a long time, {N} had dreamed of building a {build}.]
[{He} collected {mats} and started at once.|{He} took {mats} and began to work.|First, {he} needed {mats}.]
[But it was hard work for one little {K}.|But everything fell down again and again.|But the pieces did not fit, and {he} hit {his} own thumb.] ["This will never work," said {N}.|{N} wiped {his} face and sighed.|"I cannot do it alone," said {N}.]
[{F1} came by and watched {him}.|Then {F1} came by.|{F1} heard the noise and came to see.] "What are you doing?" asked {N2}.
["I am building a {build}, but it keeps falling down," said {N}.|{N} told {N2} about the {build}.|{N} showed {N2} the plan {he} had drawn.]
["May I help you?" asked {N2}. "I am good with tools."|"You need stronger ropes," said {N2}. "I have some at home."|"Four hands are better than two," said {N2}.]
[They worked together until the sun went down.|One of them held the wood, and the other tied the knots.|{N2} measured, {N} cut, and both of them sang.]
?[When it rained, they waited under a big leaf.|They made mistakes, but they laughed about them.|At noon, they shared bread and apples.]
[After three days, the {build} was ready.|At last, the {build} was finished.|When the last knot was tied, they stepped back and looked.]
?[It was a little crooked, but it was strong.|It was the finest {build} far and wide.|They painted it {color} and gave it a name.]
["We did it together," said {N}.|"I could never have done it alone," said {N}.|{N} and {N2} jumped up and down with joy.]
[{builduse}|Everyone came to see it, and the two builders were very proud.] [{N} learned that many hands make light work.|From then on, they built many things together.]"""),

    (["getting lost in the {fog}", "a {K} who gets lost", "finding the way home"], """
[{time}, {N} went for a long walk.|{time}, {N} went out to collect [berries|mushrooms|wood].|{time}, {N} wanted to visit {his} {kin}.]
[{detail}|{He} was singing and did not look at the path.|{He} followed a blue butterfly farther and farther.]
[Suddenly the {fog} became so thick that {he} could not see the path.|Then the {fog} came, and everything looked the same.|When {he} looked around, there was {fog} on every side.]
["I am lost," said {N}, and {his} voice was very small.|{N} walked in circles and got more and more worried.|"Which way is home?" asked {N}, but nobody answered.]
?[{He} passed the same [big stone|old fence|crooked tree] three times.|{He} sat down {at1} and tried not to cry.|{He} called for help, but only the wind answered.]
[But {N} remembered what {his} {kin} had told {him}. "When you are lost, stay calm and listen."|Then {he} took a deep breath and listened.|"I must stay calm," {he} said to {self}.]
[Far away, {he} heard {sound}.|Then {he} heard {sound}.|Somewhere in the {fog}, there was {sound}.]
[{N} followed it, step by step.|{He} got up and walked toward it.|{He} went on slowly, and it became louder and louder.]
[It was {F1}, who was looking for {him}.|And there stood {F1} with a lamp.]
["There you are, {N}!" cried {N2}. "I was so worried."|"I knew that you would hear me," said {N2}.|"You did not come home, so I came to find you," said {N2}.]
[Hand in hand, they walked home.|{N2} knew the way, and soon they saw the lights of home.|They walked close together until they saw a warm light in the window.]
[{N} was very thankful to have such a friend.|After that, {N} always looked at the path.|{N} had a hot bath, a bowl of soup, and a long sleep.]"""),

    (["a treasure map", "a treasure", "finding a treasure"], """
[{time}, {N} found an old map {at1}.|{time}, {N} found a bottle {at1}, and in the bottle was a map.|{time}, an old map fell out of a book that {N} was reading.]
["A treasure!" cried {N}.|On the map was a big {color} cross.|{N} could not believe {his} eyes.] [{He} ran to {F1} and showed {him2} the map.|{He} showed the map to {F1}.]
["We must find it," said {N2}.|"What if there is gold?" asked {N2}.|"I will get my boots and a shovel," said {N2}.]
[They left before the sun came up.|They packed bread, water and a rope, and off they went.|So the two friends went on a great journey.]
[First, the map led them to a place {at2}.|First, they had to look for a sign {at2}.] [There they found a {color} arrow on a stone.|There they had to take ten steps to the left.|There a small sign pointed to the hills.]
?[Then they climbed a hill and crossed a cold stream.|Then they walked through a dark tunnel.|Then it began to rain, but they went on.]
?["My feet hurt," said {N2}. "It is not far now," said {N}.|{detail}|Once they read the map upside down and laughed a lot.]
[At last, they stood {at3}. "This is the place," said {N}.|At last, they came to the cross, which was {at3}.]
[They dug and dug until they found a wooden box.|Under a flat stone, there was a small wooden box.|They dug a deep hole, and then they hit something hard.]
[Inside the box {treasure}.|They opened it slowly. Inside {treasure}.]
["It is not gold, but it is even better," said {N}.|{N2} laughed. "The best treasure was our journey," {he2} said.|"We will share it with everyone," said {N}.]
[They shared it, just like good friends do.|{N} hung the old map on the wall.|And {N} knew that a friend is the greatest treasure of all.]"""),

    (["a magic {magic}", "a wish", "a {K} with a magic {magic}"], """
[{time}, {N} found a {color} {magic} {at1}.|{time}, an old woman gave {N} a {color} {magic}.|{time}, {N} bought a {color} {magic} at the market.]
["I am a magic {magic}," said a tiny voice. "You have one wish."|When {he} touched it, it began to glow. "Make a wish," it said.|"Take good care of it," said a voice. "It can make one wish come true."]
?[{N} almost dropped it.|{N} rubbed {his} eyes.|{N} was so surprised that {he} could not speak.]
[What should {he} wish for?|{He} thought about it all day.|{He} could not sleep that night.] ["A mountain of cake? A golden boat?" {he} thought.|"I could be rich," {he} thought. "I could be a king."|"Maybe I should wish for wings," {he} thought.]
[The next morning, {he} met {F1}.|On the way home, {he} saw {F1}.|Then {he} visited {F1}.] [{N2} was sitting {at2} and looked very sad.|{N2} was crying.|{N2} did not smile.]
["What is wrong?" asked {N}.|"Why are you so sad?" asked {N}.] {trouble}
[{N} looked at the {magic} in {his} hand.|{N} did not think for long.|Then {N} knew what to do.] ["I wish that {N2} can be happy again," {he} said.|{He} closed {his} eyes and wished for {N2} to be happy again.]
[The {magic} shone as bright as the sun.|There was a flash of {color} light.|The {magic} began to sing softly.] {fixed}
["You gave me your only wish!" said {N2}.|"Why did you do that for me?" asked {N2}.] ["Because you are my friend," said {N}.|"Your smile is the best thing I could wish for," said {N}.]
[The {magic} never spoke again, but {N} did not mind.|After that, the {magic} was just a {magic}, but {N} kept it forever.|{N} put the {magic} on the table, where it still shines a little at night.]"""),

    (["growing {plant}", "a garden", "a tiny seed"], """
[{time}, {N} planted some seeds in {his} [little|small] garden.|{time}, {N} found a bag of seeds and planted them [behind|in front of] {his} house.|In spring, {N} wanted to grow {plant}.]
?["Soon I will have the best {plant} {inland}," said {N}.|{He} gave them water and waited.|"Please grow fast," {he} said to the seeds.]
[The next day, {he} looked, but there was nothing.|One day passed, then two, then three. Nothing happened.|Every morning, {N} ran out to look, but the ground was bare.]
["Why is nothing growing?" asked {N}.|"I did something wrong," said {N} sadly.|{N} wanted to dig the seeds up again.]
[{F1} was working nearby and smiled.|{F1} looked over the fence.|{F1} came by with a watering can.] ["Be patient," said {N2}. "Good things need time."|"Seeds sleep before they wake up," said {N2}.|"They need sun, water and a little love," said {N2}.]
[So {N} waited, pulled out the weeds and sang to the seeds.|So {N} gave them water every day and kept the snails away.|From then on, {N} and {N2} looked after the garden together.]
[Then came a dry week without any rain.|Then a cold night came.|Then the crows came and wanted to eat everything.] [{N} carried water from the well until {his} arms hurt.|{N} covered the ground with warm straw.|{N} and {N2} built a funny scarecrow.]
[One morning, there was something green.|And then, one morning, a tiny green leaf looked out of the ground.]
?["They are growing!" shouted {N}.|{N} danced around the garden.|{N} ran to tell {N2}.] [The leaves grew bigger every day.|After a few weeks, the plants were taller than {N}.]
[In summer|When autumn came|At last], {N} had more {plant} than {he} could carry.
[{He} invited everyone to a big dinner.|{He} gave a full basket to every neighbor.|{He} and {N2} made a big feast for everyone {inland}.]
[{N} learned that good things take time.|"You were right," {N} said to {N2}. "It was worth the wait."|And next spring, {N} planted even more.]"""),

    (["a kind deed", "helping a stranger", "kindness"], """
[{time}, {N} was on the way to the market.|{time}, {N} was in a great hurry.|{time}, {N} was walking home all alone.]
[There {he} met {S1}, who was carrying a heavy bag.|Then {he} saw {S1}, who could not cross the river alone.|By the road sat {S1}, who had lost {his2} way.]
?[The others walked past and did not even look.|Nobody else had stopped to help.|It was getting late, and it was starting to rain.]
["Can I help you?" asked {N}.|{N} stopped at once. "Let me help you," {he} said.|"You look tired," said {N}. "Take my arm."]
["That is very kind of you," said {N2}. "My name is {N2}."|"Thank you, my dear," said {N2}. "My old legs are tired."]
[So {N} helped {him2} all the way home.|It took a long time, but {N} did not complain.|They walked slowly and talked about the old days.]
[{N2} had no money to give. "One day, I will help you too," {he2} said.|"I will not forget you," said {N2}.|{N2} gave {him} a warm smile and a small {color} whistle. "Blow it when you need help," {he2} said.]
?[Many weeks passed.|{N} soon forgot about it.|Spring came and went.]
[Then, in winter, {N} fell into a deep hole.|Then one night, {N} got lost in the snow.|Then one day, {N}'s cart broke down far from home.] [{He} called and called, but nobody came.|"Is anybody there?" {he} shouted.|{He} was cold and all alone.]
[Suddenly {he} saw a light. It was {N2}!|Then {he} heard a voice. "Hold on, {N}!" It was {N2}.]
[{N2} had brought a long rope and strong friends.|{N2} knew every path and led {him} home safely.|{N2} gave {him} a warm coat and helped {him} home.]
["You helped me, and now I help you," said {N2}.|"A kind deed always comes back," said {N2}.] [{N} hugged {him2} for a long time.|And from then on, {N} visited {him2} every week.]"""),

    (["catching the {sky}", "the {sky}", "a {K} who wants the {sky}"], """
[{time}, {N} looked up and saw the {sky}.|One clear evening, {N} could not stop looking at the {sky}.|More than anything, {N} wanted to hold the {sky}.]
?["I want to have it for my own," said {N}.|"If I had it, I would never be sad again," said {N}.|"I will catch it," said {N}, "and put it in a box."]
[First, {he} climbed the highest tree, but it was too far away.|First, {he} jumped as high as {he} could.|First, {he} threw a rope into the air, but it fell down on {his} head.]
?[Then {he} built a tower of [boxes|chairs|stones], but it fell over.|Then {he} climbed onto the roof, but it was still far away.|Then {he} tried to catch it with a fishing net.]
[{F1} saw {him} and asked, "What are you doing?"|{F1} heard the noise and came out.] ["I want to catch the {sky}," said {N}.|{N} told {N2} about {his} plan.]
[{N2} did not laugh.|{N2} thought about it.|{N2} smiled.] ["Come with me," {he2} said. "I want to show you something."|"Follow me to the water," {he2} said.]
[They walked to a pond not far away.|{N2} led {him} to a still pond behind the trees.]
["Look," said {N2}. In the water, {N} saw the {sky}.|There it was! The {sky} was shining in the water, close enough to touch.]
[{N} put {his} hand into the water, but the picture broke into a thousand pieces.|{N} tried to pick it up, but there was only water in {his} hands.]
["You cannot own it," said {N2}, "but you can look at it whenever you like."|"Some things belong to everyone," said {N2}. "That is why they are so beautiful."]
[{N} sat down next to {N2}, and they looked at it together.|{N} was quiet for a while. Then {he} smiled.] ["You are right," said {N}. "It is better to share it."|"It is even more beautiful with a friend," said {N}.]
[And every clear evening, they met at the pond again.|From then on, {N} did not want to own it anymore.]"""),

    (["a festival", "a {K} at the festival", "finding your talent"], """
[Every year there was a big festival {inland}.|{time}, everyone was getting ready for the festival.|The {season} festival was only one day away.]
?[Everyone had to bring something special.|Everyone wanted to show what they could do.|Everybody was cooking, painting and singing.]
[But {N} did not know what to bring.|But {N} thought that {he} had no talent at all.|Only {N} had nothing to show.]
[{He} tried to bake a {food}, but it burned.|{He} tried to dance, but {he} fell over {his} own feet.|{He} tried to paint a picture, but it looked like soup.] [{He} tried to sing, but the dogs began to howl.|Then {he} tried to juggle, but the balls fell into the water.|"I am good at nothing," {he} said.]
[{N} hid {at1}, where no one could see {him}.|{N} sat down {at1} and felt very small.] [There {F1} found {him}.|After a while, {F1} came and sat beside {him}.]
["Why are you not at the festival?" asked {N2}.|"What is wrong?" asked {N2}.] ["I have nothing to give," said {N}.|"Everyone has a talent except me," said {N}.]
[{N2} shook {his2} head. "You always listen to me when I am sad," {he2} said.|{N2} smiled. "Nobody tells stories like you do," {he2} said.|"But you make everyone laugh," said {N2}.] ["That is a talent too."|"That is a great gift."]
[So {N} went to the festival with {N2}.|{N} was nervous, but {he} went with {N2}.] [When it was {his} turn, {he} told a story about a {thing}.|Then {he} stood up and told a funny story.]
[First it was quiet. Then everyone laughed and clapped.|Everyone listened with open mouths.|The little ones wanted to hear it again and again.]
["That was the best part of the festival," said {N2}.|"More, more!" they shouted.|They put a crown of flowers on {his} head.]
[{N} learned that everyone is good at something.|And from then on, {N} told a story every year.]"""),

    (["a letter", "delivering a {parcel}", "an important delivery"], """
[{time}, {N} had an important job. {He} had to bring a {parcel} to {F1}.|{time}, {his} {kin} gave {N} a {parcel} for {F1}.]
?["Be careful with it," said {his} {kin}.|"I will not stop until I am there," said {N}.|{N} put it into {his} bag and left at once.]
[{N2}'s house was far away, {farland}.|It was a long way to {N2}'s house.]
[First, {he} came to a river. The bridge was broken, so {he} jumped from stone to stone.|First, {he} had to climb a steep hill with the sun in {his} eyes.|First, {he} took the wrong path and had to turn around.]
[Then {he} came to a place {at1}. {detail} But {N} did not stop to play.|Then {he} passed some children who were playing {at1}. "Play with us!" they called. "Later," said {N}.]
[Suddenly it began to rain, and {he} hid the {parcel} under {his} coat.|Then the wind blew the {parcel} out of {his} hands, and {he} had to run after it.|Then a big dog stood in {his} way, but {N} gave it some bread and walked on.]
?[{His} feet hurt, but {he} thought of {N2} and went on.|"Only one more hill," {he} said to {self}.|It got darker and darker.]
[In the evening, {he} saw {N2}'s house at last.|When the first stars came out, {N} knocked on {N2}'s door.]
["Is it you, {N}? You came all this way in this weather?" asked {N2}.|{N2} opened the door and could not believe {his2} eyes.] ["I have something for you," said {N}.|{N} gave {him2} the {parcel} with a proud smile.]
[{N2} opened it with shaking hands.|{N2} sat down and opened it slowly.] {news}
["You have made me very happy," said {N2}.|{N2} laughed and cried at the same time.] [{He2} gave {N} hot soup and a soft bed for the night.|Then they ate a {food} together.]
[{N} was tired, but {he} was very proud.|And {N} knew that the long way had been worth it.]"""),

    (["a quarrel between friends", "two friends who quarrel", "saying sorry"], """
[{N} had a good friend, {N2} the {K2}.|{His} best friend was {N2} the {K2}.] [They played together every day.|They did everything together.|They always met {at1}.]
[But {time0}, they both wanted the same {thing}.|But {time0}, they had a quarrel about a {thing}.|But {time0}, they found a {thing}, and both of them wanted to keep it.]
["It is mine!" shouted {N}.|"I saw it first!" said {N}.|"Give it to me!" cried {N}.] ["No, it is mine!" shouted {N2}.|"You always want everything!" said {N2}.|{N2} pulled from the other side.]
[They pulled and pulled until it fell into the mud.|They shouted so loudly that the birds flew away.|Then {N} said something that was not nice at all.]
["I do not want to see you again!" said {N2}, and {he2} ran away.|{N2} turned around and went home without a word.] [{N} kept the {thing}, but {he} was not happy.|{N} went home too, and {he} was very angry.]
[The next day, {N} played alone. It was no fun at all.|The days were long and quiet without {N2}.|{N} sat {at2} and had nobody to talk to.]
?["I miss {N2}," {he} said to {self}.|"It was only a {thing0}," {he} thought. "A friend is much more."|{He} could not eat, and {he} could not sleep.]
[So {he} took the {thing} and went to {N2}'s house.|At last, {he} got up and went to look for {N2}.|Then {he} cleaned the {thing} until it was like new.] [{N2} was sitting {at3} and looked sad too.|{He} found {N2} {at3}.]
["I am sorry," said {N}. "You can have the {thing0}."|"Please forgive me," said {N}. "I was wrong."|"I was silly," said {N}. "I am so sorry."]
["I am sorry too," said {N2}. "Let us share it."|{N2} smiled. "I was wrong too," {he2} said. "Let us be friends again."|"I missed you so much," said {N2}.]
[They hugged each other and played until dark.|On Mondays it belonged to {N}, and on Tuesdays it belonged to {N2}.|They laughed, and everything was good again.]
[{N} learned that friends are more important than things.|And they never quarreled about a {thing0} again.]"""),
]
_NO_FRIEND_FIRST = {15, 19}  # the stranger, and the plot that brings its own introduction

BABIES = ["baby bird", "duckling", "baby rabbit", "little lamb", "kitten", "baby squirrel", "tiny hedgehog", "puppy", "baby deer", "little goat"]
GIFTS = ["necklace of seashells", "crown of flowers", "little wooden boat", "warm blanket", "painted stone", "paper lantern", "picture of their favorite place",
         "wooden flute", "bird house", "pair of warm socks", "clay cup", "kite with a long tail", "soft pillow", "basket of sweet rolls"]
FEARS = [
    ("the dark", "[{N2} gave {him} a little lamp.|\"In the dark you can see the stars,\" said {N2}.] \"We will go together,\" {he2} said.",
     "[{N} looked up and saw a thousand stars.|The night was quiet, and fireflies were dancing around them.]"),
    ("deep water", "[\"I will hold you, and we start where it is not deep,\" said {N2}.|{N2} gave {him} a piece of wood to hold.]",
     "[{N} floated on the water like a leaf.|{N} was swimming all by {self}.]"),
    ("thunder", "[\"Thunder is only the drum of the clouds,\" said {N2}.|\"Let us count until the thunder comes,\" said {N2}.]",
     "[When the thunder came, {N} clapped {his} hands and laughed.|The thunder rolled, and {N} sang along with it.]"),
    ("high places", "[\"Do not look down, look at me,\" said {N2}.|\"We will climb slowly, one step at a time,\" said {N2}.]",
     "[From the top, {N} could see the whole {land}.|{N} stood at the top and felt like a bird.]"),
    ("strangers", "[\"Every friend was once a stranger,\" said {N2}.|\"Just say hello and tell them your name,\" said {N2}.]",
     "[{N} said hello, and a little girl smiled and gave {him} a flower.|{N} said {his} name, and soon {he} was playing with three new friends.]"),
    ("the old bridge", "[\"I will go first, and you hold my hand,\" said {N2}.|\"It has carried bigger ones than you,\" said {N2}.]",
     "[Soon {N} was standing on the other side.|The bridge shook a little, but it held, and {N} reached the other side.]"),
    ("big dogs", "[\"Hold out your hand and let the dog smell it,\" said {N2}.|\"The dog wants to play with you,\" said {N2}.]",
     "[The big dog licked {his} hand and sat down.|The big dog wagged its tail and gave {N} a ball.]"),
    ("singing in front of others", "[\"Look only at me when you sing,\" said {N2}.|\"I will sing with you,\" said {N2}.]",
     "[{N} sang the whole song, and everyone clapped.|{N}'s voice was clear and strong, and everyone listened.]"),
]
SKILLS = [("swim", "swimming", "[{he} swallowed a lot of water|{he} sank like a stone]"), ("dance", "dancing", "{he} [fell over {his} own feet|got dizzy and fell down]"),
          ("play the flute", "playing the flute", "[it sounded like a sick goose|no sound came out at all]"), ("paint", "painting", "[everything turned brown|the paint landed on {his} nose]"),
          ("skate on the ice", "skating on the ice", "{he} [slipped and sat down hard|could not stop and fell into the snow]"),
          ("juggle", "juggling", "[all the balls fell on {his} head|{he} dropped every ball]"), ("whistle", "whistling", "[only air came out|it sounded like the wind]"),
          ("row a boat", "rowing a boat", "[the boat only turned in circles|{he} lost both oars]"), ("fly a kite", "flying a kite", "[it fell down at once|it got stuck in a tree]"),
          ("ride a bicycle", "riding a bicycle", "{he} [rode straight into a bush|fell off after two seconds]"), ("play the violin", "playing the violin", "[it hurt everyone's ears|a string broke]"),
          ("bake bread", "baking bread", "[the bread was as hard as a stone|the bread was black and full of smoke]"), ("cook soup", "cooking soup", "[it tasted like old socks|there was far too much salt in it]"),
          ("climb trees", "climbing trees", "{he} [slid down again at once|got stuck on the first branch]"), ("write poems", "writing poems", "[the words did not rhyme|the page stayed empty]")]
NIGHT = [("tapping sound", ["It was only a branch that was tapping on a window.", "A woodpecker was working late and tapping on a tree."]),
         ("blue light", ["A hundred fireflies were dancing in the grass.", "It was only the moon, shining on a piece of blue glass."]),
         ("humming sound", ["A little beetle was humming a song for its children.", "A baby owl was humming because it could not sleep."]),
         ("scratching noise", ["A hungry little mouse was trying to open a box of nuts.", "A small hedgehog was scratching at an empty bowl."]),
         ("whispering voice", ["The wind was blowing through an empty bottle and made it whisper.", "Two old owls were telling each other secrets."]),
         ("green glow", ["Glowing mushrooms were growing there in a ring.", "A family of glowworms was having a party."]),
         ("ringing sound", ["A little goat with a bell around its neck had lost its way.", "A small bell was hanging there and moving in the wind."]),
         ("splashing sound", ["Two young frogs were playing in a puddle.", "A happy duck was taking a bath in the moonlight."])]
VASES = ["vase", "teapot", "flower pot", "blue plate", "music box", "glass bowl", "little clock", "sugar bowl"]
BUILDS = [("raft", "logs and ropes", "They sailed across the water and waved to everyone."), ("tree house", "boards and nails", "That night, they slept in the tree house under the stars."),
          ("bridge", "planks and ropes", "Now everyone could cross the stream with dry feet."), ("sled", "wood and nails", "They raced down the hill on it and shouted with joy."),
          ("kite", "paper and string", "It flew so high that it almost touched the clouds."), ("boat", "wood and glue", "They rowed out and watched the sun go down."),
          ("wagon", "boards and four old wheels", "They rolled down the hill in it and laughed out loud."), ("swing", "ropes and a strong board", "They took turns and flew high into the air."),
          ("windmill", "wood and cloth", "It turned in the wind and made flour for everyone."), ("bird house", "boards and straw", "In spring, a family of little birds moved in.")]
SOUNDS = ["the sound of a bell", "someone calling {his} name", "the sound of a drum", "a song that {he} knew well", "the sound of a horn", "someone whistling a song"]
TREASURES = ["were a hundred {color} marbles", "was an old music box that still played", "were seeds for a whole garden of roses", "was a book full of wonderful stories",
             "was a letter that said, \"The real treasure is your friendship\"", "were two golden cups", "was a lamp that shone in seven colors", "were old toys, as good as new"]
MAGICS = ["stone", "ring", "feather", "shell", "lamp", "coin", "bell", "acorn", "mirror", "key"]
TROUBLES = [("\"My [little brother|mother|sister] is very ill,\" said {N2}.", "A moment later, a letter came. The illness was gone!"),
            ("\"My house burned down last night,\" said {N2}.", "And there stood a new house with a {color} door!"),
            ("\"I have lost my {thing}, and I will never find it again,\" said {N2}.", "And there, right in front of {N2}, lay the {thing}!"),
            ("\"My garden is dry, and we have nothing to eat,\" said {N2}.", "Then it began to rain, and {N2}'s garden turned green!"),
            ("\"I cannot sing anymore,\" said {N2}. \"I have lost my voice.\"", "Then {N2} opened {his2} mouth and sang like a bird!"),
            ("\"I am all alone in the world,\" said {N2}.", "Then the door opened, and {N2}'s lost family came in!")]
PLANTS = ["pumpkins", "carrots", "sunflowers", "tomatoes", "strawberries", "beans", "roses", "cabbages", "melons", "potatoes"]
PARCELS = [("letter", ["It was from {his2} [sister|brother|mother|father], who was coming to visit.", "\"My {kin} is well again!\" {he2} cried.", "It was an invitation to a wedding."]),
           ("parcel", ["Inside was a {thing} that {he2} had lost long ago.", "Inside was a {thing}, just what {he2} had always wanted.", "Inside were warm clothes for the winter."]),
           ("small box", ["Inside was a {thing}, just what {he2} had always wanted.", "Inside was a tiny golden ring.", "Inside was medicine for {his2} sick [mother|father|brother]."])]


def _pronouns(ctx, girl, tag):
    he, his, him, slf = ("she", "her", "her", "herself") if girl else ("he", "his", "him", "himself")
    ctx.update({"he" + tag: he, "He" + tag: he.capitalize(), "his" + tag: his, "His" + tag: his.capitalize(), "him" + tag: him, "self" + tag: slf})


def story(rng, kind=None, name=None):
    """Returns (text, facts). Facts: the two characters, the plot's number, topics for a request."""
    n1, k1, g1 = character(rng, kind=kind, name=name)
    if name is not None:
        g1 = name in GIRLS or name in MORE_GIRLS
    while True:
        n2, k2, g2 = character(rng, taken=(n1,))
        if k2 != k1:
            break
    homes, land, spots, details = rng.choice(LANDS)
    at = rng.sample(spots, 3)
    p = rng.randrange(len(PLOTS))
    adj, adj2, adj3 = rng.sample(ADJ, 3)
    color = rng.choice(COLORS)
    thing0 = rng.choice(THINGS)
    things = [rng.choice(["red", "blue", "green", "yellow", "white", "orange"]) + " " + rng.choice(["apron", "cap"])]
    hob, hobing = rng.choice(HOBBIES)
    fear, advice, result = rng.choice(FEARS)
    skill, skilling, fail = rng.choice(SKILLS)
    noise, reveals = rng.choice(NIGHT)
    build, mats, builduse = rng.choice(BUILDS)
    trouble, fixed = rng.choice(TROUBLES)
    parcel, news = rng.choice(PARCELS)
    gift = rng.choice(GIFTS)
    food, food2 = rng.sample(FOODS, 2)
    ctx = {"N": n1, "K": k1, "A": adj, "B": adj2, "N2": n2, "K2": k2, "A2": adj3, "home": rng.choice(homes), "land": land, "inland": INLAND.get(land, "in the " + land),
           "search": {"lake": "shore"}.get(land, land), "around": {"beach": "along the beach"}.get(land, "around the " + land),
           "farland": ("at the other end of the " if land in ("beach", "castle") else "on the other side of the ") + land,
           "at1": at[0], "at2": at[1], "at3": at[2], "at1x": at[0], "detail": rng.choice(details),
           "thing": color + " " + thing0, "thing0": thing0, "thing0c": rng.choice(["coat", "blanket", "scarf", "shirt"]), "kin": rng.choice(KIN),
           "hob": hob, "hobing": hobing, "fear": fear, "skill": skill, "skilling": skilling, "noise": noise, "build": build, "mats": mats, "builduse": builduse,
           "food": food, "food2": food2, "baby": rng.choice(BABIES), "agift": "a " + gift, "thegift": "the " + gift, "vase": rng.choice(VASES),
           "fog": rng.choice(["fog", "mist"]), "sky": rng.choice(["moon", "evening star", "rainbow", "brightest star"]),
           "magic": rng.choice(MAGICS), "plant": rng.choice(PLANTS), "parcel": parcel, "color": rng.choice(COLORS[:8]),
           "season": rng.choice(["spring", "summer", "autumn", "winter"]), "place2": rng.choice(["together", "back together"]), "he3": rng.choice(["he", "she"])}
    if p == 9 and g1 == g2:  # the winner's pronoun agrees with the cast, so that the cast can be checked
        ctx["he3"] = "she" if g1 else "he"
    _pronouns(ctx, g1, "")
    _pronouns(ctx, g2, "2")
    e = lambda t: expand(t, ctx, rng)
    # values that are templates themselves
    ctx["time"] = e(rng.choice(TIMES))
    ctx["time0"] = ctx["time"][0].lower() + ctx["time"][1:] if not ctx["time"].startswith("On the") else "one day"
    for key, value in (("advice", advice), ("result", result), ("fail", fail), ("reveal", rng.choice(reveals)), ("sound", rng.choice(SOUNDS)),
                       ("treasure", rng.choice(TREASURES)), ("trouble", trouble), ("fixed", fixed), ("news", rng.choice(news))):
        ctx[key] = expand(value, ctx, rng, start=key not in ("fail", "sound", "treasure"))
    parts = [e(rng.choices(OPEN, _OPEN_W)[0])]
    if rng.random() < 0.55:
        parts.append(e(rng.choice(TRAIT)))
    if p not in _NO_FRIEND_FIRST and rng.random() < 0.2:
        parts.append(e("[{His} best friend was {N2} the {K2}.|{He} had a good friend, a~ {A2} {K2} named {N2}.|Next door lived {his} friend {N2} the {K2}.]"))
        ctx["F1"] = "{N2}"
    elif p in (2, 8, 18):
        ctx["F1"] = rng.choice(["{his} friend", "{his} good friend", "{his} old friend", "{his} best friend"]) + " {N2} the {K2}"
    else:
        ctx["F1"] = rng.choice(["{his} friend {N2} the {K2}", "{his} good friend {N2} the {K2}", "{his} best friend {N2} the {K2}", "{his} neighbor {N2} the {K2}",
                                "a~ {A2} {K2} named {N2}", "a~ {K2} named {N2}"])
    ctx["S1"] = rng.choice(["an old {K2} named {N2}", "a tired {K2} named {N2}", "a poor old {K2} named {N2}"])
    topics, lines = PLOTS[p]
    lines = lines.strip().split("\n")
    for j, line in enumerate(lines):
        if line[0] == "?":
            if rng.random() < 0.6:
                continue
            line = line[1:]
        if j == len(lines) - 1 and rng.random() < 0.3:
            continue
        parts.append(e(line))
    if rng.random() < 0.35:
        parts.append(e(rng.choice(END)))
    facts = {"name": n1, "kind": k1, "adj": adj, "name2": n2, "kind2": k2, "girl": g1, "girl2": g2, "plot": p, "topic": expand(rng.choice(topics), ctx, rng, start=False)}
    return " ".join(parts), facts


# ---------------------------------------------------------------- sums

HELD_OUT_SHARE = 0.15


def sum_split(seed=7):
    """All unordered pairs of 0..99, split into (train, held out). Both orders of a pair stay together. Of the
    55 pairs of one-digit numbers 6 are held out, none of them a number and itself or its neighbor."""
    pairs = [(a, b) for a in range(100) for b in range(a, 100)]
    random.Random(seed).shuffle(pairs)
    cut = int(len(pairs) * HELD_OUT_SHARE)
    held = set(random.Random(seed).sample([(a, b) for a in range(10) for b in range(a + 2, 10)], 6))
    held |= {p for p in pairs[:cut] if p[1] > 9}
    return [p for p in pairs if p not in held], [p for p in pairs if p in held]


_TRAIN_SUMS = sum_split()[0]
_SMALL_SUMS = [p for p in _TRAIN_SUMS if p[1] < 10]
_MIXED_SUMS = [p for p in _TRAIN_SUMS if p[0] < 10 <= p[1]]
_LARGE_SUMS = [p for p in _TRAIN_SUMS if p[0] > 9]


def sum_pair(rng):
    """A pair from the training part; 30 % have a one-digit number, which an even draw makes much rarer."""
    r = rng.random()
    a, b = rng.choice(_SMALL_SUMS if r < 0.1 else _MIXED_SUMS if r < 0.3 else _LARGE_SUMS)
    return (a, b) if rng.random() < 0.5 else (b, a)


def sum_text(a, b):
    return f"Sum: {a} + {b} = {a + b}"


# ---------------------------------------------------------------- weather

_TOWN_A = """Oak Maple River Green Sun Stone Lake Bright Silver Wood North South Clear Wind Rose Elm Fern Ash
Mill Spring Summer Winter Fox Hill Sea Gold Cherry Pine""".split()
_TOWN_B = "dale ton field ford wood brook haven port view bury ville mouth".split()
TOWNS = [a + b for a in _TOWN_A for b in _TOWN_B if a.lower() != b]
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()


def degrees(t):
    return f"{'minus ' if t < 0 else ''}{abs(t)} degree{'' if abs(t) == 1 else 's'}"


def warmth(t):
    """The word for a temperature."""
    return "freezing" if t <= 0 else "cold" if t <= 8 else "cool" if t <= 14 else "mild" if t <= 19 else "warm" if t <= 25 else "hot"


SKIES = {  # name: (words for the sky, lowest high, highest high, what happens, advice)
    "sunny": (["sunny", "sunny and clear", "bright and sunny"], -3, 35,
              ["The sky will be blue all day.", "There will be no clouds at all.", "The sun will shine from morning to evening."], None),
    "cloudy": (["cloudy", "cloudy but dry", "gray and cloudy"], -2, 28,
               ["Thick clouds will cover the sky, but it will stay dry.", "The sun will hide behind the clouds.", "The sky will be gray, but there will be no rain."],
               ["You will not need an umbrella.", "It is a good day to visit a museum.", "You can leave your umbrella at home."]),
    "rainy": (["rainy", "wet and rainy", "gray and rainy"], 4, 24,
              ["Rain will fall for most of the day.", "It will rain from noon until the evening.", "Heavy rain is expected in the afternoon.", "Light rain will start before noon."],
              ["Take an umbrella with you.", "Do not forget your umbrella.", "You will need an umbrella and good boots."]),
    "stormy": (["stormy", "wild and stormy", "dark and stormy"], 10, 32,
               ["Thunder and lightning are expected in the afternoon.", "A strong storm will come in from the {dir}.", "There will be thunder, lightning and heavy rain."],
               ["Please stay inside and close the windows.", "Stay away from tall trees.", "Take an umbrella, or better stay at home."]),
    "snowy": (["snowy", "white and snowy", "snowy and quiet"], -9, 1,
              ["About {cm} centimeters of snow will fall.", "Snow will fall all day long.", "Heavy snow is expected in the morning."],
              ["Wear a thick coat and warm boots.", "Drive slowly, because the roads are slippery.", "Children can bring out their sleds."]),
    "foggy": (["foggy", "foggy and still", "gray and foggy"], 2, 18,
              ["Thick fog will cover the fields in the morning.", "The fog will be gone by noon.", "The fog will stay until the afternoon."],
              ["Drive slowly and turn on your lights.", "Take care on the roads.", "Walk carefully near the river."]),
    "windy": (["windy", "windy and fresh", "bright and windy"], 3, 26,
              ["Strong wind will blow from the {dir}.", "The wind will come from the {dir}.", "A strong {dir} wind will blow all day."],
              ["Hold on to your hat.", "It is a good day to fly a kite.", "Close your windows well."]),
}
_SUN_ADVICE = {"freezing": ["Wear a warm hat and gloves.", "It is perfect weather for skating."], "cold": ["Wear a warm coat.", "Put on a coat and a scarf."],
               "cool": ["Take a light jacket with you.", "It is a good day for a walk in a light jacket."], "mild": ["It is a good day for a walk.", "You will not need a coat."],
               "warm": ["It is perfect weather for a picnic.", "Enjoy the day in the park."], "hot": ["Drink a lot of water and wear a hat.", "Stay in the shade and drink a lot of water."]}
_DIRS = ["north", "south", "east", "west"]


def weather(rng, town=None, day=None):
    town = town or rng.choice(TOWNS)
    sky = rng.choice(list(SKIES))
    words, low, high, events, advice = SKIES[sky]
    top = rng.randint(low, high)
    morning = top - rng.randint(3, 9)
    night = morning - rng.randint(1, 5)
    ctx = {"town": town, "day": day or rng.choice(DAYS), "sky": rng.choice(words), "warm": warmth(top), "top": degrees(top), "morning": degrees(morning),
           "night": degrees(night), "dir": rng.choice(_DIRS), "cm": str(rng.randint(2, 40)), "mwarm": warmth(morning)}
    ctx["warmsky"] = ctx["warm"] + (", " if " and " in ctx["sky"] else " and ") + ctx["sky"]
    ctx["event"] = expand(rng.choice(events), ctx, rng)
    ctx["advice"] = rng.choice(advice or _SUN_ADVICE[ctx["warm"]])
    text = expand("Weather report for {town}: "
                  "[{day} will be {warmsky}.|{day} will be a {warmsky} day.|On {day}, the weather will be {warmsky}.] "
                  "[The morning starts at {morning}, and the afternoon reaches {top}.|In the morning it will be {mwarm} with {morning}, and in the afternoon it will be {warm} with {top}.|"
                  "The temperature rises from {morning} in the morning to {top} in the afternoon.|It will be {morning} in the morning and {top} in the afternoon.] "
                  "{event} "
                  "[At night, the temperature falls to {night}. |The night will be [colder|cooler] with {night}. |In the night it will be {night}. |]"
                  "{advice}", ctx, rng)
    return text, {"town": town, "day": ctx["day"], "sky": sky}


# ---------------------------------------------------------------- recipes


def _join(items):
    items = list(items)
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def _q(rng, low, high, unit):
    n = rng.randint(low, high)
    return f"{n} {unit}{'s' if n > 1 else ''} of"


# vegetables and fruit: word in a dish's name -> (ingredient as listed in the plural or mass form, how it is counted)
VEG = {"pumpkin": "cups", "tomato": "tomatoes", "carrot": "carrots", "potato": "potatoes", "mushroom": "mushrooms", "leek": "leeks", "pea": "cups:peas", "cauliflower": "cups",
       "broccoli": "cups", "corn": "cups", "lentil": "cups:lentils", "bean": "cups:beans", "spinach": "cups", "cabbage": "cups", "zucchini": "cups", "pepper": "peppers"}
FRUIT = {"apple": "apples", "cherry": "cups:cherries", "blueberry": "cups:blueberries", "peach": "peaches", "pear": "pears", "plum": "plums", "rhubarb": "cups",
         "strawberry": "cups:strawberries", "raspberry": "cups:raspberries", "banana": "bananas", "apricot": "apricots", "mango": "mangos"}
HERBS = ["parsley", "basil", "thyme", "dill", "mint", "chives"]
SPICES = ["cinnamon", "ginger", "nutmeg", "vanilla", "cardamom"]
_OTHER = """onion garlic water broth salt cream butter oil lemon vinegar flour sugar eggs milk yeast oats honey nuts raisins chocolate cheese rice pasta lettuce
yogurt ice curry""".split() + ["coconut milk", "baking powder", "olives", "cucumber", "walnuts", "almonds"]


def produce(word, table, rng):
    """(name used in the steps, phrase used in the list) of a vegetable or a fruit."""
    kind = table[word]
    if kind == "cups":
        return word, _q(rng, 2, 4, "cup") + " " + word
    if kind.startswith("cups:"):
        return kind[5:], _q(rng, 2, 4, "cup") + " " + kind[5:]
    return kind, f"{rng.randint(2, 6)} {kind}"


INGREDIENTS = sorted(set(HERBS + SPICES + _OTHER + [produce(w, t, random.Random(0))[0] for t in (VEG, FRUIT) for w in t]), key=len, reverse=True)
DISHES = ["soup", "salad", "pie", "cake", "muffins", "pancakes", "stew", "bread", "cookies", "omelette", "pasta", "porridge", "jam", "smoothie", "curry", "rice"]


def recipe(rng, dish=None):
    dish = dish or rng.choice(DISHES)
    mins = lambda lo, hi: f"{rng.randrange(lo, hi + 1, 5)} minutes"
    pick = lambda t: expand(t, {}, rng, start=False)
    salt = ("salt", pick("[a pinch of salt|a little salt|1 spoon of salt]"))
    butter = ("butter", _q(rng, 1, 3, "spoon") + " butter")
    oil = ("oil", _q(rng, 1, 4, "spoon") + " oil")
    fat = rng.choice([butter, oil])
    onion = ("onion", "1 onion")
    eggs = ("eggs", f"{rng.randint(2, 4)} eggs")
    milk = ("milk", _q(rng, 1, 2, "cup") + " milk")
    flour = ("flour", _q(rng, 2, 4, "cup") + " flour")
    sugar = ("sugar", _q(rng, 1, 2, "cup") + " sugar")
    herb = rng.choice(HERBS)
    herb = (herb, "a little " + herb)
    spice = rng.choice(SPICES)
    spice = (spice, "1 spoon of " + spice)
    powder = ("baking powder", "1 spoon of baking powder")
    veg, fruit = rng.choice(list(VEG)), rng.choice(list(FRUIT))
    v, f = produce(veg, VEG, rng), produce(fruit, FRUIT, rng)
    items, steps = [], []

    if dish == "soup":
        name = veg + " soup"
        liquid = rng.choice([("water", _q(rng, 3, 6, "cup") + " water"), ("broth", _q(rng, 3, 6, "cup") + " broth")])
        items = [v, onion, liquid, fat, salt]
        steps = [f"[wash|clean] the {v[0]} and [cut|chop] the onion", f"[heat|warm] the {fat[0]} in a [large|big] pot and cook the onion for 5 minutes",
                 f"add the {v[0]} and the {liquid[0]} and cook everything for {mins(15, 40)}"]
        last = [salt[0]]
        if rng.random() < 0.5:
            items.append(("cream", "1 cup of cream"))
            last.append("cream")
        if rng.random() < 0.5:
            items.append(herb)
            last.append(herb[0])
        steps += [f"stir in the {_join(last)}"]
        end = "[Serve the soup hot.|Serve the soup with a slice of toast.|Enjoy the soup while it is hot.]"
    elif dish == "salad":
        name = veg + " salad"
        extra = rng.sample([("cucumber", "1 cucumber"), ("olives", "1 cup of olives"), ("cheese", "1 cup of cheese"), ("lettuce", "1 head of lettuce"), ("nuts", "1 cup of nuts"), onion], rng.randint(1, 3))
        acid = rng.choice([("lemon", "1 lemon"), ("vinegar", _q(rng, 1, 3, "spoon") + " vinegar")])
        items = [v] + extra + [oil, acid, salt]
        steps = [f"[cook the {v[0]} for {mins(5, 15)} and let [it|them] cool|wash the {v[0]} and cut [it|them] into small pieces]".replace("[it|them]", "them" if v[0].endswith("s") and v[0] != "zucchini" else "it"),
                 f"[cut|chop] the {_join(x[0] for x in extra)} and put everything into a [large|big] bowl",
                 f"mix the oil, the {'juice of the lemon' if acid[0] == 'lemon' else 'vinegar'} and the salt in a cup", "pour it over the salad and mix well"]
        end = "[Serve the salad at once.|Let the salad rest for 10 minutes before you serve it.|Serve the salad cold.]"
    elif dish == "pie":
        name = fruit + " pie"
        items = [f, flour, butter, sugar, rng.choice([spice, salt])]
        x = items[-1][0]
        if rng.random() < 0.4:
            items.append(eggs)
        steps = ["[mix|rub] the flour and the butter with your hands" + (", then add the eggs" if eggs in items else ""), "[roll out the dough and put it into a pie dish|press the dough into a round dish]",
                 f"[mix|stir] the {f[0]} with the sugar and the {x}, and fill the dish with [it|the mixture]", f"bake the pie for {mins(35, 55)}"]
        end = "[Let the pie cool before you cut it.|Serve the pie warm.|Serve the pie when it is golden brown.]"
    elif dish in ("cake", "muffins"):
        flavor = rng.choice(["chocolate", "lemon", "honey", "walnut", "almond", fruit, fruit, "carrot", spice[0]])
        name = f"{flavor} {dish}"
        x = {"chocolate": ("chocolate", "1 cup of chocolate"), "lemon": ("lemon", "1 lemon"), "honey": ("honey", _q(rng, 2, 5, "spoon") + " honey"), "walnut": ("walnuts", "1 cup of walnuts"),
             "almond": ("almonds", "1 cup of almonds"), "carrot": produce("carrot", VEG, rng), spice[0]: spice}.get(flavor) or f
        items = [flour, sugar, eggs, butter, x] + ([milk] if rng.random() < 0.5 else []) + [powder]
        prep = {"chocolate": "melt the chocolate", "lemon": "grate and press the lemon", "honey": "warm the honey", "carrot": "grate the carrots", "walnut": "chop the walnuts", "almond": "chop the almonds",
                spice[0]: f"measure the {x[0]}"}.get(flavor) or f"[wash and cut|clean and cut|cut] the {x[0]}"
        steps = ["[beat|mix|stir] the butter and the sugar until [they are|the mixture is] creamy", "add the eggs" + (" and the milk" if milk in items else "") + " and [beat|stir|mix] well",
                 "stir in the flour and the baking powder", prep + " and [mix|fold|stir] into the dough".replace("[mix|fold|stir]", "[mix it|fold it|stir it]" if not x[0].endswith("s") else "[mix them|fold them|stir them]"),
                 (f"bake the cake for {mins(30, 60)}" if dish == "cake" else f"fill the dough into 12 small cups and bake the muffins for {mins(15, 25)}")]
        end = "[Let the cake cool for an hour.|Serve the cake with a cup of tea.]" if dish == "cake" else "[Let the muffins cool before you eat them.|Enjoy the muffins while they are warm.]"
    elif dish == "pancakes":
        name = fruit + " pancakes"
        items = [flour, milk, eggs, salt, fat, f]
        steps = ["[mix|stir] the flour, the milk, the eggs and the salt in a bowl", "let the batter rest for 10 minutes", f"heat the {fat[0]} in a [large |hot |]pan and fry the pancakes for 2 minutes on each side",
                 f"[wash|cut] the {f[0]} and put {'it' if f[0] == 'rhubarb' else 'them'} on top"]
        end = "[Serve the pancakes hot.|Eat the pancakes right away.|Roll up the pancakes and enjoy.]"
    elif dish == "stew":
        veg2 = rng.choice([w for w in VEG if w != veg])
        w = produce(veg2, VEG, rng)
        name = f"{veg} and {veg2} stew"
        items = [v, w, onion, ("broth", _q(rng, 2, 5, "cup") + " broth"), fat, herb, salt]
        steps = [f"[cut|chop] the {v[0]}, the {w[0]} and the onion", f"fry the onion in the {fat[0]} until it is golden", f"add the {v[0]}, the {w[0]} and the broth",
                 f"let the stew simmer for {mins(30, 90)}", f"[season it|finish it] with the {herb[0]} and the salt"]
        end = "[Serve the stew in deep bowls.|The stew tastes even better the next day.|Serve the stew hot.]"
    elif dish == "bread":
        x = rng.choice([("walnuts", "1 cup of walnuts"), ("raisins", "1 cup of raisins"), ("olives", "1 cup of olives"), ("cheese", "1 cup of cheese"), ("oats", "1 cup of oats"), herb])
        name = {"walnuts": "walnut", "raisins": "raisin", "olives": "olive", "oats": "oat"}.get(x[0], x[0]) + " bread"
        items = [flour, ("water", _q(rng, 1, 2, "cup") + " water"), ("yeast", "1 spoon of yeast"), salt, x]
        steps = ["mix the yeast with the warm water and wait for 10 minutes", "add the flour and the salt and [knead the dough well|knead until the dough is smooth]", f"[work|knead] the {x[0]} into the dough",
                 f"let the dough rise for {rng.choice(['1 hour', '2 hours', '45 minutes'])}", f"bake the bread for {mins(30, 50)}"]
        end = "[Let the bread cool on a rack.|The bread is done when it sounds hollow.|Enjoy the bread while it is fresh.]"
    elif dish == "cookies":
        flavor = rng.choice(["chocolate", "oat", "almond", "raisin", "honey", spice[0]])
        name = flavor + " cookies"
        x = {"chocolate": ("chocolate", "1 cup of chocolate"), "oat": ("oats", _q(rng, 1, 3, "cup") + " oats"), "almond": ("almonds", "1 cup of almonds"), "raisin": ("raisins", "1 cup of raisins"),
             "honey": ("honey", _q(rng, 2, 5, "spoon") + " honey")}.get(flavor) or spice
        items = [flour, butter, sugar, eggs, x]
        steps = ["[beat|stir] the butter and the sugar together", "add the eggs one by one", f"[mix|stir] in the flour and the {x[0]}", "[form small balls and put them on a tray|cut out small shapes and put them on a tray]",
                 f"bake the cookies for {mins(10, 20)}"]
        end = "[Let the cookies cool on the tray.|Keep the cookies in a tin.|The cookies are ready when the edges are brown.]"
    elif dish == "omelette":
        name = veg + " omelette"
        items = [eggs, v, fat, salt] + ([("cheese", "1 cup of cheese")] if rng.random() < 0.5 else []) + ([herb] if rng.random() < 0.5 else [])
        tops = [x[0] for x in items[4:]]
        steps = ["[beat|whisk] the eggs with the salt", f"[cut|chop] the {v[0]} and fry {'them' if v[0].endswith('s') else 'it'} in the {fat[0]} for 5 minutes", "pour the eggs into the pan and cook on low heat"]
        steps += [f"[sprinkle the {_join(tops)} on top|add the {_join(tops)}]"] if tops else []
        end = "[Fold the omelette and serve it hot.|Slide the omelette onto a plate and eat it at once.]"
    elif dish == "pasta":
        name = f"pasta with {v[0]}"
        items = [("pasta", _q(rng, 2, 4, "cup") + " pasta"), v, ("garlic", f"{rng.randint(2, 4)} cloves of garlic"), oil, salt] + ([("cheese", "1 cup of cheese")] if rng.random() < 0.6 else []) + ([herb] if rng.random() < 0.5 else [])
        tops = [x[0] for x in items[5:]]
        steps = ["bring a big pot to the boil and add the salt", f"cook the pasta for {rng.randint(8, 12)} minutes", f"fry the garlic and the {v[0]} in the oil", "[mix everything in the pan|put everything together and stir well]"]
        steps += [f"[sprinkle with the {_join(tops)}|top it with the {_join(tops)}]"] if tops else []
        end = "[Serve the pasta at once.|Enjoy the pasta with your friends.]"
    elif dish == "porridge":
        name = fruit + " porridge"
        items = [("oats", _q(rng, 1, 2, "cup") + " oats"), milk, f, rng.choice([("honey", "1 spoon of honey"), ("sugar", "1 spoon of sugar")]), rng.choice([salt, spice])]
        steps = [f"[bring the milk to the boil|heat the milk in a pot] and add the oats and the {items[4][0]}", "cook on low heat for 5 minutes and stir often", f"[cut|wash] the {f[0]} and put {'it' if f[0] == 'rhubarb' else 'them'} on top",
                 f"[finish with|pour over|add] the {items[3][0]}"]
        end = "[Eat the porridge warm.|Serve the porridge in a bowl.]"
    elif dish == "jam":
        name = fruit + " jam"
        items = [f, sugar, ("lemon", "1 lemon")] + ([spice] if rng.random() < 0.4 else [])
        steps = [f"wash the {f[0]} and cut {'it' if f[0] == 'rhubarb' else 'them'} into pieces", f"put the {f[0]} and the sugar into a pot and wait for 1 hour", "add the juice of the lemon" + (f" and the {spice[0]}" if spice in items else ""),
                 f"boil everything for {mins(15, 30)} and stir all the time"]
        end = "[Fill the jam into clean jars.|Pour the hot jam into jars and close them well.]"
    elif dish == "smoothie":
        fruit2 = rng.choice([w for w in FRUIT if w != fruit])
        g = produce(fruit2, FRUIT, rng)
        name = f"{fruit} and {fruit2} smoothie"
        items = [f, g, rng.choice([("yogurt", "1 cup of yogurt"), milk, ("water", "1 cup of water")]), ("honey", "1 spoon of honey")] + ([("ice", "1 cup of ice")] if rng.random() < 0.5 else [])
        rest = [x[0] for x in items[2:]]
        steps = [f"wash the {f[0]} and the {g[0]} and cut them into pieces", "put them into a blender", f"add the {_join(rest)}", "blend everything for 1 minute"]
        end = "[Pour the smoothie into tall glasses.|Drink the smoothie right away.]"
    elif dish == "curry":
        name = veg + " curry"
        items = [v, onion, ("garlic", f"{rng.randint(2, 4)} cloves of garlic"), ("coconut milk", "2 cups of coconut milk"), ("curry", _q(rng, 1, 3, "spoon") + " curry powder"), oil, salt]
        steps = ["[chop|cut] the onion and the garlic and fry them in the oil", f"add the {v[0]} and the curry powder and stir", f"pour in the coconut milk and cook for {mins(15, 30)}", "add the salt"]
        end = "[Serve it hot.|Serve it in small bowls.]"
    else:
        name = f"rice with {v[0]}"
        items = [("rice", _q(rng, 1, 3, "cup") + " rice"), v, onion, ("broth", _q(rng, 2, 5, "cup") + " broth"), fat, salt] + ([herb] if rng.random() < 0.5 else [])
        last = [x[0] for x in items[5:]]
        steps = [f"chop the onion and fry it in the {fat[0]}", f"add the rice and the {v[0]} and stir for 2 minutes", f"pour in the broth and cook for {mins(15, 25)}", f"add the {_join(last)} and mix well"]
        end = "[Let the rice rest for 5 minutes.|Serve the rice on a warm plate.]"
    text = f"Recipe for {name}: " + pick("[You need|You will need|Take]") + " " + _join(x[1] for x in items) + ". "
    words = ["First,"] + [pick("[Then|Next,|After that,|Now]") for _ in steps[1:]]
    if len(steps) > 2:
        words[-1] = pick("[Then|Finally,|At the end,]")
    out = []
    for j, (w, s) in enumerate(zip(words, steps)):
        s = pick(s)
        out.append(f"{w} {s}." if j in (0, len(steps) - 1) or rng.random() < 0.55 else s[0].upper() + s[1:] + ".")
    return text + " ".join(out) + " " + pick(end), {"name": name, "items": [x[0] for x in items]}


# ---------------------------------------------------------------- chat

KINDS = ["story", "sum", "weather", "recipe"]
_TELL = "[Tell me|Please tell me|Can you tell me|Write|I would like to hear|Could you tell me]"


def _end(q):
    return q + ("?" if q.startswith(("Can", "Could")) else ".")


def turn(rng, kind):
    """One question and its answer."""
    if kind == "story":
        text, f = story(rng)
        kn = ("an " if _AN.match(f["kind"]) else "a ") + f["kind"]
        an = ("an " if _AN.match(f["adj"]) else "a ") + f["adj"] + " " + f["kind"]
        what = rng.choice([f"a story about {kn} named {f['name']}", f"a story about {kn} named {f['name']}", f"a story about {an} named {f['name']}", f"a story about {f['name']} the {f['kind']}",
                           f"a story about {kn}", f"a story about {an}", f"a story about {f['topic']}", "a story", "a bedtime story", f"a story about {f['kind']} {f['name']}" if f["kind"] in PEOPLE else f"a story about {f['name']}"])
        return _end(expand(_TELL, {}, rng) + " " + what), text
    if kind == "sum":
        a, b = sum_pair(rng)
        q = rng.choice(["What is {} + {}?", "What is {} + {}?", "How much is {} + {}?", "What is {} plus {}?", "Add {} and {}.", "Can you add {} and {}?", "What is the sum of {} and {}?", "{} + {} = ?", "What is {}+{}?", "{} + {}"])
        return q.format(a, b), f"{a} + {b} = {a + b}"
    if kind == "weather":
        text, f = weather(rng)
        q = rng.choice(["What is the weather in {town}?", "What is the weather in {town}?", "What will the weather be like in {town}?", "How is the weather in {town} on {day}?", "What is the weather like in {town}?",
                        "Give me the weather report for {town}.", "What will the weather be in {town} on {day}?", "Tell me the weather for {town}."])
        return q.format(**f), text
    text, f = recipe(rng)
    name = f["name"]
    an = name if name.split()[-1] in ("pancakes", "muffins", "cookies") or name.startswith(("rice ", "pasta ")) else ("an " if name[0] in "aeio" else "a ") + name if name.split()[-1] in ("pie", "cake", "salad", "omelette", "smoothie", "stew", "curry") else name
    q = rng.choice([f"How do I make {an}?", f"How do I make {an}?", f"How do I make {name}?", f"How can I cook {name}?", f"Give me a recipe for {name}.", f"Can you give me a recipe for {name}?", f"How do you make {an}?", f"What do I need for {an}?"])
    return q, text


USER, ASSISTANT, BOS, EOS, PAD = "<|user|>", "<|assistant|>", "<s>", "</s>", "<pad>"
CHAT_SHARE = 0.22
GREETING = "[Hello|Hi|Hello there|Good morning|Hello!|Hi!|Who are you?|What can you do?|Hello, what can you do?|Hi, who are you?]"
ANSWER = "Hello! I can tell you a story, add two numbers, report the weather or give you a recipe."


def plain(rng, kind):
    if kind == "story":
        return story(rng)[0]
    if kind == "sum":
        return sum_text(*sum_pair(rng))
    if kind == "weather":
        return weather(rng)[0]
    return recipe(rng)[0]


def document(rng, kind):
    """One training text with its special tokens."""
    if rng.random() >= CHAT_SHARE:
        return BOS + plain(rng, kind) + EOS
    hello = ""
    if rng.random() < 0.04:
        hello = USER + expand(GREETING, {}, rng) + ASSISTANT + ANSWER + EOS
    kinds = [kind]
    if rng.random() < 0.2:  # a second turn; at most one of the two is a story
        kinds.append(rng.choice(KINDS[1:] if kind == "story" else ["sum", kind]))
        if rng.random() < 0.5:
            kinds.reverse()
    return BOS + hello + "".join(USER + q + ASSISTANT + a + EOS for q, a in (turn(rng, k) for k in kinds))


if __name__ == "__main__":
    import sys

    rng = random.Random(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    for kind in KINDS:
        for _ in range(int(sys.argv[2]) if len(sys.argv) > 2 else 3):
            print(document(rng, kind), "\n")
